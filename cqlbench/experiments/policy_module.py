"""A saved policy as a torch module, and as one file that torch (or ONNX) runs without cqlbench."""

import io
import json
import logging
import warnings

import torch
from torch import Tensor, nn

from cqlbench.core.errors import ConfigError
from cqlbench.records.policy import SavedPolicy

FORMATS = {"export": ".pt2", "torchscript": ".pt", "onnx": ".onnx"}
_EXTRA = "cqlbench.json"


class Policy(nn.Module):
    """Deterministic actions, `[B, O]` raw observations -> `[B, A]` float32: in the action box, or one-hot."""

    mean: Tensor
    scale: Tensor
    centre: Tensor
    half_range: Tensor

    def __init__(self, saved: SavedPolicy) -> None:
        super().__init__()
        arrays = {name: torch.from_numpy(array.copy()) for name, array in saved.arrays.items()}
        self.head, self.actions = saved.head, saved.action_size
        self.register_buffer("mean", arrays["observation_mean"])
        self.register_buffer("scale", arrays["observation_scale"])
        if not saved.discrete:
            self.register_buffer("centre", (arrays["action_high"] + arrays["action_low"]) / 2)
            self.register_buffer("half_range", (arrays["action_high"] - arrays["action_low"]) / 2)
        # An actor is an ensemble of one.
        weights = [arrays[f"{layer}.weight"] for layer in range(len(saved.layers))]
        biases = [arrays[f"{layer}.bias"] for layer in range(len(saved.layers))]
        self.weights = nn.ParameterList(w if saved.discrete else w.unsqueeze(0) for w in weights)
        self.biases = nn.ParameterList(b.unsqueeze(-2) if saved.discrete else b[None, None] for b in biases)
        self.members = int(self.weights[0].shape[0])
        self.requires_grad_(False)

    def forward(self, observation: Tensor) -> Tensor:
        """`[B, O]` -> `[B, A]`."""
        normalized = (observation - self.mean) * self.scale
        hidden = normalized.unsqueeze(0).expand(self.members, -1, -1)  # [K, B, O]
        for layer, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            hidden = torch.baddbmm(bias, torch.relu(hidden) if layer else hidden, weight)
        output = hidden.mean(0)
        if self.head == "argmax":
            return nn.functional.one_hot(output.argmax(-1), self.actions).to(torch.float32)
        output = output[:, : self.actions]
        unit = torch.tanh(output) if self.head == "tanh" else output.clamp(-1, 1)
        return self.centre + self.half_range * unit


def exported(saved: SavedPolicy, kind: str) -> bytes:
    """The policy as a file's content; its notes (run, dataset, config) are in it.

    Raises:
        ConfigError: ONNX, and its packages are not here.
    """
    module, notes = Policy(saved).eval(), json.dumps(dict(saved.notes))
    example = (torch.zeros(2, saved.observation_size),)
    buffer = io.BytesIO()
    if kind == "torchscript":
        with warnings.catch_warnings():
            # torch has superseded it by torch.export; C++ programs and older torch read nothing else.
            warnings.filterwarnings("ignore", r"`torch\.jit\.", DeprecationWarning)
            traced = torch.jit.trace(module, example)  # type: ignore[no-untyped-call]
            torch.jit.save(traced, buffer, _extra_files={_EXTRA: notes})
        return buffer.getvalue()
    if kind == "onnx":
        return _onnx(module, example, notes)
    shapes = ({0: torch.export.Dim("batch")},)
    torch.export.save(
        torch.export.export(module, example, dynamic_shapes=shapes), buffer, extra_files={_EXTRA: notes}
    )
    return buffer.getvalue()


def _onnx(module: Policy, example: tuple[Tensor], notes: str) -> bytes:
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
            input_names=["observation"],
            output_names=["action"],
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    model.metadata_props.add(key=_EXTRA, value=notes)
    content: bytes = model.SerializeToString()
    return content
