"""What components are shown: sentences of our own, texts that break careless code, and small pictures drawn on the spot."""

from __future__ import annotations

from pathlib import Path

from armada_cli.models.tiny import SENTENCES

TEXTS = (
    *SENTENCES[:3],
    "Rain.",
    "Every evening, when the shutters come down along the quay, the harbour master walks once around the basin, counts the "
    "boats that have come home, writes their number into a small green book, and only then lights his pipe and sits down.",
)
"""Five texts of one to forty words."""

AWKWARD = {
    "an empty text": "",
    "a text of spaces": "   ",
    "a text of line breaks": "\n\t\r\n",
    "a text of several lines": "The tide turns.\nThe ferry does not.\n\nNobody waits.",
    "a text of 10,000 words": " ".join(f"{SENTENCES[number % 16]}" for number in range(1200))[:60_000].strip(),
    "one word of 10,000 letters": "a" * 10_000,
    "a Chinese text": "渡船在雾中等待潮水。",
    "an Arabic text": "ينتظر القارب المد في الضباب.",
    "a Hindi text": "नाव कोहरे में ज्वार की प्रतीक्षा करती है।",
    "a text of emoji": "⛵🌊🐦‍⬛👩🏽‍🚀🏳️‍🌈",
    "a text of punctuation": "?!… -- [] {} <> % \\ \"'",
    "a text with control characters": "one\x00two\x07three\u200b\ufeff",
}
"""What it is -> a text that must become a finite vector, or a UserError."""


def draw_pictures(folder: Path) -> list[Path]:
    """Five small pictures, all different: a smooth ramp, noise, stripes, a dark one and a bright one."""
    import numpy as np
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    chance = np.random.default_rng(7)
    ramp = np.linspace(0, 255, 48 * 40 * 3).reshape(48, 40, 3)
    made = [
        ramp,
        chance.integers(0, 256, (32, 64, 3)),
        np.tile([[[230, 30, 30], [30, 30, 230]]], (36, 18, 1)),
        np.full((24, 24, 3), 12),
        255 - ramp / 4,
    ]
    paths = []
    for number, pixels in enumerate(made):
        paths.append(folder / f"picture-{number}.png")
        Image.fromarray(np.asarray(pixels, np.uint8)).save(paths[-1])
    return paths


def awkward_pictures(folder: Path) -> dict[str, Path]:
    """What it is -> a file that must become a finite vector, a UserError, or be `Unanswered`."""
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    paths = {name: folder / f"awkward-{number}.png" for number, name in enumerate(PICTURES)}
    paths["a file that is not there"] = folder / "nowhere.png"
    paths["an empty file"].touch()
    paths["a text called .png"].write_text("The ferry waits.", encoding="utf-8")
    whole = folder / "whole.png"
    Image.effect_noise((40, 40), 60).save(whole)
    paths["a picture cut short"].write_bytes(whole.read_bytes()[:300])
    Image.new("RGB", (1, 1), (9, 90, 200)).save(paths["a picture of one pixel"])
    Image.new("L", (30, 20), 90).save(paths["a grey picture"])
    Image.new("RGBA", (30, 20), (200, 10, 10, 90)).save(paths["a picture one can see through"])
    Image.new("RGB", (600, 3), (10, 200, 10)).save(paths["a picture of 600 by 3"])
    return paths


PICTURES = (
    "an empty file",
    "a text called .png",
    "a picture cut short",
    "a picture of one pixel",
    "a grey picture",
    "a picture one can see through",
    "a picture of 600 by 3",
)
