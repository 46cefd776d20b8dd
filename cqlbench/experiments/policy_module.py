"""A saved policy as a torch module, and as one file that torch (or ONNX) runs without cqlbench."""

import io
import json
import logging
import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from cqlbench.algorithms.networks.transformer import transformer
from cqlbench.core.errors import ConfigError
from cqlbench.evaluation.player import Player
from cqlbench.records.policy import SavedPolicy

FORMATS = {"export": ".pt2", "torchscript": ".pt", "onnx": ".onnx"}
_EXTRA = "cqlbench.json"


def _tensors(saved: SavedPolicy) -> dict[str, Tensor]:
    return {name: torch.from_numpy(array.copy()) for name, array in saved.arrays.items()}


class _Saved(nn.Module):
    """What all saved policies have: statistics of observations, and the action box if there is one."""

    mean: Tensor
    scale: Tensor
    centre: Tensor
    half_range: Tensor

    def __init__(self, arrays: dict[str, Tensor]) -> None:
        """`arrays` of a saved policy's file, of which the network's are left."""
        super().__init__()
        self.register_buffer("mean", arrays.pop("observation_mean"))
        self.register_buffer("scale", arrays.pop("observation_scale"))
        if "action_low" in arrays:
            low, high = arrays.pop("action_low"), arrays.pop("action_high")
            self.register_buffer("centre", (high + low) / 2)
            self.register_buffer("half_range", (high - low) / 2)

    def _normalized(self, observation: Tensor) -> Tensor:
        if observation.dtype != self.mean.dtype:  # MuJoCo's environments give float64
            observation = observation.to(self.mean.dtype)
        return (observation - self.mean) * self.scale


class Policy(_Saved):
    """Deterministic actions, `[B, O]` raw observations -> `[B, A]` float32: in the action box, or one-hot."""

    def __init__(self, saved: SavedPolicy) -> None:
        arrays = _tensors(saved)
        super().__init__(arrays)
        self.head, self.actions = saved.head, saved.action_size
        # An actor is an ensemble of one.
        weights = [arrays[f"{layer}.weight"] for layer in range(len(saved.layers))]
        biases = [arrays[f"{layer}.bias"] for layer in range(len(saved.layers))]
        self.weights = nn.ParameterList(w if saved.discrete else w.unsqueeze(0) for w in weights)
        self.biases = nn.ParameterList(b.unsqueeze(-2) if saved.discrete else b[None, None] for b in biases)
        self.members = int(self.weights[0].shape[0])
        self.requires_grad_(False)

    def forward(self, observation: Tensor) -> Tensor:
        """`[B, O]` -> `[B, A]`."""
        hidden = self._normalized(observation).unsqueeze(0).expand(self.members, -1, -1)  # [K, B, O]
        for layer, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            hidden = torch.baddbmm(bias, torch.relu(hidden) if layer else hidden, weight)
        output = hidden.mean(0)
        if self.head == "argmax":
            return nn.functional.one_hot(output.argmax(-1), self.actions).to(torch.float32)
        output = output[:, : self.actions]
        unit = torch.tanh(output) if self.head == "tanh" else output.clamp(-1, 1)
        return self.centre + self.half_range * unit


class SequencePolicy(_Saved):
    """A decision transformer: deterministic actions from the last time steps of an episode."""

    def __init__(self, saved: SavedPolicy) -> None:
        arrays = _tensors(saved)
        super().__init__(arrays)
        self._names = sorted(arrays)
        self.weights = nn.ParameterList(arrays[name].unsqueeze(0) for name in self._names)
        self.requires_grad_(False)
        notes = saved.notes
        self.context, self.heads = int(notes["context"]), int(notes["heads"])
        self.asked_return, self.return_scale = float(notes["asked_return"]), float(notes["return_scale"])

    def forward(self, observation: Tensor, action: Tensor, return_to_go: Tensor, step: Tensor) -> Tensor:
        """The action at the last time step.

        Args:
            observation: `[B, L, O]`, raw; L up to `context`.
            action: `[B, L, A]`; the last is not looked at.
            return_to_go: `[B, L]`, raw: `asked_return` less the rewards before.
            step: `[B, L]` int64, since the episode began.

        Returns:
            `[B, A]`.
        """
        params = dict(zip(self._names, self.weights, strict=True))
        normalized, scaled = self._normalized(observation), return_to_go * self.return_scale
        inputs = (each.unsqueeze(0) for each in (normalized, action, scaled, step))
        told = transformer(params, *inputs, heads=self.heads)
        return self.centre + self.half_range * told[0, :, -1].tanh()

    def player(self) -> Player:
        """Plays one episode with it, `[1, 1, O]` -> `[1, 1, A]`."""
        return Player(
            lambda history: self(*(each[0] for each in history)).unsqueeze(0),
            self.context,
            self.asked_return,
            len(self.centre),
        )


def module_of(saved: SavedPolicy) -> Policy | SequencePolicy:
    """The module of a saved policy."""
    return SequencePolicy(saved) if saved.head == "sequence" else Policy(saved)


def exported(saved: SavedPolicy, kind: str) -> bytes:
    """The policy as a file's content; its notes (run, dataset, config) are in it.

    Raises:
        ConfigError: ONNX, and its packages are not here.
    """
    module, notes = module_of(saved).eval(), json.dumps(dict(saved.notes))
    example: tuple[Tensor, ...] = (torch.zeros(2, saved.observation_size),)
    batch = torch.export.Dim("batch")
    names, shapes = ["observation"], [{0: batch}]
    if isinstance(module, SequencePolicy):
        steps = torch.arange(min(module.context, 2)).expand(2, -1)
        wide = torch.zeros(*steps.shape, 1)
        example = (
            wide.expand(-1, -1, saved.observation_size),
            wide.expand(-1, -1, saved.action_size),
            wide[..., 0],
            steps,
        )
        names = ["observation", "action", "return_to_go", "step"]
        length = torch.export.Dim("length", max=module.context)
        shapes = [{0: batch, 1: length} if module.context > 1 else {0: batch}] * 4
    buffer = io.BytesIO()
    if kind == "torchscript":
        with warnings.catch_warnings():
            # torch has superseded it by torch.export; C++ programs and older torch read nothing else.
            warnings.filterwarnings("ignore", r"`torch\.jit\.", DeprecationWarning)
            # Of numbers that are the module's own, such as the size of a head.
            warnings.filterwarnings("ignore", "Converting a tensor to a Python")
            traced = torch.jit.trace(module, example)  # type: ignore[no-untyped-call]
            torch.jit.save(traced, buffer, _extra_files={_EXTRA: notes})
        return buffer.getvalue()
    if kind == "onnx":
        return _onnx(module, example, dict(zip(names, shapes, strict=True)), notes)
    program = torch.export.export(module, example, dynamic_shapes=tuple(shapes))
    torch.export.save(program, buffer, extra_files={_EXTRA: notes})
    return buffer.getvalue()


def _onnx(
    module: nn.Module, example: tuple[Tensor, ...], shapes: Mapping[str, dict[int, Any]], notes: str
) -> bytes:
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ConfigError(f"format=onnx needs {error.name}: pip install 'cqlbench[onnx]'.") from error
    with warnings.catch_warnings():
        # torch's exporter uses what torch itself has deprecated, and misses torchvision.
        warnings.simplefilter("ignore")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        program = torch.onnx.export(
            module,
            example,
            input_names=list(shapes),
            output_names=["action"],
            dynamic_shapes=tuple(shapes.values()),
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    model.metadata_props.add(key=_EXTRA, value=notes)
    content: bytes = model.SerializeToString()
    return content
