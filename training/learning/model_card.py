"""The model card of a garment: what it learned from, how near it comes, under which licence. Markdown."""

from __future__ import annotations

from typing import Any

from training.config import Recipe

COLUMNS = {
    "to_truth_mean": "mean, mm", "to_truth_p90": "90 % below, mm", "from_truth_mean": "truth to garment, mm",
    "normal_angle": "normals, degrees",
}  # fmt: skip


def model_card(recipe: Recipe, summary: dict[str, Any], patches: int, parameters: int) -> str:
    """`summary` as in the garment's `training`: data, frames, steps, minutes, supervision, held_out."""
    mirrored = " (mirror images among them)" if recipe.mirror else ""
    lines = [
        f"# {recipe.title or recipe.name}", "", *([recipe.description, ""] if recipe.description else []),
        f"- Licence: {recipe.licence}", f"- Author: {recipe.author}", f"- Body: {recipe.body}",
        f"- Learned from: {summary['frames']} frames of `{summary['data']}`{mirrored}, {summary['supervision']}",
        f"- Training: {summary['steps']} steps of {recipe.batch} frames, {summary['minutes']} minutes, seed "
        f"{recipe.seed}",
        f"- Network: {patches} patches on the {recipe.carrier}, {parameters:,} weights, {recipe.mode} queries",
    ]  # fmt: skip
    held_out = summary["held_out"]
    columns = {key: title for key, title in COLUMNS.items() if any(key in row for row in held_out.values())}
    if columns:
        lines += ["", "Errors on held-out frames, while training:", "", f"| region | {' | '.join(columns.values())} |",
                  "|---|" + "---|" * len(columns)]  # fmt: skip
        for region, row in held_out.items():
            cells = [f"{row[key]:.2f}" if key in row else "" for key in columns]
            lines.append(f"| {region} | {' | '.join(cells)} |")
    if recipe.fabrics:
        lags = ", ".join(f"{lag:.2f}" for lag in recipe.lags)
        lines += ["", f"The garment sees {f'the pose and those {lags} seconds before' if lags else 'the pose alone'}; "
                  f"fabrics: {', '.join(recipe.fabrics)}."]  # fmt: skip
    else:
        lines += ["", "The garment sees the pose alone: neither speed nor what happened before shows in it."]
    return "\n".join(lines) + "\n"
