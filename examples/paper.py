"""A paper's main table and figure from the records in ./results, as table.tex and curves.pdf."""

import matplotlib.pyplot as plt

import cqlbench

seeds, evaluations = cqlbench.load_results("results"), cqlbench.load_results("results", per="evaluation")
of_runs = seeds.groupby(["dataset", "algorithm"], observed=True)["score"].agg(["mean", "std"])
texts = of_runs.apply(lambda row: f"{row['mean']:.1f} ± {row['std']:.1f}", axis=1)
texts.unstack().to_latex("table.tex", na_rep="")
curves = evaluations.groupby(["dataset", "algorithm", "step"], observed=True)["score"].agg(["mean", "std"])
figure, panels = plt.subplots(
    1, seeds["dataset"].nunique(), squeeze=False, figsize=(8, 3), layout="constrained"
)
for axes, (dataset, of_dataset) in zip(panels.flat, curves.groupby("dataset", observed=True), strict=False):
    for algorithm, curve in of_dataset.droplevel("dataset").groupby("algorithm", observed=True):
        steps, mean, std = curve.index.get_level_values("step"), curve["mean"], curve["std"]
        axes.plot(steps, mean, label=algorithm)
        axes.fill_between(steps, mean - std, mean + std, alpha=0.2)
    axes.set(title=dataset, xlabel="Gradient steps", ylabel="Score")
    axes.legend()
figure.savefig("curves.pdf")
