"""Pictures as teachers see them: opened with care, and turned into vectors by an image encoder of the transformers library.

Public, for plugins whose teacher looks at a picture. Everything heavy is imported inside.
"""

from __future__ import annotations

import contextlib
import io
import math
import os
import threading
import warnings
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from armada_cli.contracts import Environment
from armada_cli.devices import pick_device
from armada_cli.errors import UserError, one_line
from armada_cli.models import hub

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
"""What is opened. Pillow knows more; some of it starts other programs (EPS)."""

MAX_PIXELS = 64_000_000
"""A picture of more is not decoded: a file of a few kilobytes can stand for gigabytes of pixels."""

BYTES_PER_PIXEL = 16
"""What decoding takes at most, kept low by `REDUCED_PIXELS`: four bytes of the picture, a decoder's own copy, coefficients of a
progressive JPEG."""

MEMORY_SHARE = 4
"""One picture may take the memory of this machine divided by so much."""

REDUCED_PIXELS = 4096 * 4096
"""A picture of more is reduced by a whole factor as it is decoded: encoders look at 224 x 224 or so."""

STRIP_PIXELS = 1 << 20
"""A picture that is reduced is converted in strips of about so many pixels."""

DTYPES = ("float32", "float16", "bfloat16")

_opening = threading.Lock()
_large = threading.Lock()
"""Pictures over `REDUCED_PIXELS` are decoded one at a time."""


class BadPicture(ValueError):
    """A picture that cannot be used; the message says why, in a few words."""


class TooManyPixels(BadPicture):
    """A picture over the limit of pixels. It may be well otherwise."""


def pixel_limit() -> int:
    """Width times height of a picture that this machine's memory allows (or the control group's), at most `MAX_PIXELS`."""
    return max(1, min(MAX_PIXELS, _memory() // MEMORY_SHARE // BYTES_PER_PIXEL))


def _memory() -> int:
    """Bytes that this process may have."""
    limits = [1 << 40]
    with contextlib.suppress(ValueError, OSError, AttributeError):  # Windows has no sysconf
        limits.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        with contextlib.suppress(ValueError, OSError):  # "max" is no limit
            limits.append(int(Path(path).read_text(encoding="ascii")))
    return min(limit for limit in limits if limit > 0)


def read_picture(source: Path | bytes, max_pixels: int | None = None) -> Image:
    """Decode a picture: upright (EXIF), RGB, what is transparent on white, the first frame of an animation.

    One of more than `REDUCED_PIXELS` is reduced by a whole factor (the mean of each square of pixels), a JPEG while it is being
    decoded. How far depends on its size alone, so that its vector is the same on every machine.

    Args:
        source: the file, or its content.
        max_pixels: width times height at most, checked before anything is decoded; None is `pixel_limit`.

    Raises:
        TooManyPixels: it is over the limit.
        BadPicture: it is no picture, damaged, cut short, or a file that cannot be read.
    """
    from PIL import Image

    limit = pixel_limit() if max_pixels is None else max_pixels
    try:
        content = source.read_bytes() if isinstance(source, Path) else source
    except OSError as error:
        raise BadPicture(f"it cannot be read ({error.strerror})") from None
    if not content:
        raise BadPicture("it is empty")
    try:
        with _opening, warnings.catch_warnings():  # Pillow warns of large ones; here the size decides
            warnings.simplefilter("ignore")
            picture: Any = Image.open(io.BytesIO(content), formats=FORMATS)
        width, height = picture.size
        if width * height > limit:
            raise TooManyPixels(f"it has {width} x {height} pixels, more than {limit:,}")
        if width * height <= REDUCED_PIXELS:
            picture.load()
            return _upright(_to_rgb(picture), picture)
        with _large:
            # A JPEG is decoded at 1/2, 1/4 or 1/8; other kinds come back as they are.
            picture.draft(None, tuple(side // _factor(picture.size) for side in picture.size))
            picture.load()
            return _upright(_reduce(picture), picture)
    except (BadPicture, MemoryError):
        raise
    except Image.DecompressionBombError:
        raise TooManyPixels(f"it has more than {limit:,} pixels") from None
    except Image.UnidentifiedImageError:
        raise BadPicture(f"it is no picture of a known kind ({', '.join(FORMATS)})") from None
    except Exception as error:  # decoders of damaged files raise what they like
        raise BadPicture(f"it is damaged or cut short ({one_line(error, 100)})") from None


def _factor(size: tuple[int, int]) -> int:
    """By what a picture is to be reduced to have at most `REDUCED_PIXELS`."""
    return math.ceil(math.sqrt(size[0] * size[1] / REDUCED_PIXELS))


def _reduce(picture: Any) -> Image:
    """A decoded picture as RGB of at most `REDUCED_PIXELS`. Converted strip by strip: a whole copy would be as large again."""
    from PIL import Image

    factor = _factor(picture.size)
    width, height = picture.size
    if factor == 1:  # a JPEG that was decoded at a smaller size
        return _to_rgb(picture)
    small = Image.new("RGB", (math.ceil(width / factor), math.ceil(height / factor)))
    rows = factor * max(1, STRIP_PIXELS // (factor * width))
    for top in range(0, height, rows):
        strip = picture.crop((0, top, width, min(height, top + rows)))
        small.paste(_to_rgb(strip).reduce(factor), (0, top // factor))
    return small


def _upright(rgb: Image, picture: Any) -> Image:
    """Turned as the EXIF data of the original picture says."""
    from PIL import ImageOps

    if picture.getexif().get(0x0112, 1) == 1:
        return rgb
    rgb.info["exif"] = picture.getexif().tobytes()
    return ImageOps.exif_transpose(rgb)


def _to_rgb(picture: Any) -> Image:
    from PIL import Image

    if picture.mode.startswith("I"):  # 16 bits of grey, which `convert` would clip at 255
        import numpy as np

        return Image.fromarray((np.asarray(picture).clip(0, 65535) // 257).astype(np.uint8)).convert("RGB")
    if picture.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in picture.info:
        over = picture.convert("RGBA")
        under = Image.new("RGBA", over.size, "white")
        return Image.alpha_composite(under, over).convert("RGB")
    return picture.convert("RGB")


class PictureEncoder:
    """An image encoder by model id or folder: picture -> pooled features.

    The features are the model's pooled output (of ResNet-50 the mean over the last feature map, 2048); of a model of pictures
    and texts (CLIP) its image features; of a model whose checkpoint has no pooler its first token. Each picture is encoded
    alone, on a CPU on one thread, so that its vector depends on nothing else; several threads work on different pictures.

    Args:
        place: a folder that `save_pretrained` wrote, or a model id.
        subject: who needs it, as in ``teacher resnet-posters``, for messages.
        dtype: one of `DTYPES`.

    Raises:
        UserError: it is not here and may not be fetched, or it is damaged, or no image encoder.
    """

    def __init__(
        self, place: str, environment: Environment, *, subject: str, revision: str | None = None, dtype: str = "float32"
    ) -> None:
        import torch
        from transformers import AutoImageProcessor, AutoModel

        folder = hub.local_folder(place)
        offline = environment.offline
        where: dict[str, Any] = {"revision": revision or "main", "local_files_only": offline, "trust_remote_code": False}
        source = hub.loadable(subject, str(folder or place), environment, revision)
        with hub.quiet():
            try:
                # Without torchvision and with it: one way to prepare, so one vector.
                self.processor = AutoImageProcessor.from_pretrained(source, backend="pil", **where)
            except Exception as error:
                raise hub.cannot_load(subject, place, "image processor", error, environment) from error
            try:
                self.model, loaded = AutoModel.from_pretrained(
                    source, dtype=getattr(torch, dtype), use_safetensors=True, output_loading_info=True, **where
                )
            except Exception as error:
                raise hub.cannot_load(subject, place, "weights", error, environment) from error
        missing = {str(name) for name in loaded["missing_keys"]}
        # A checkpoint of a classifier may lack the pooler: what stands there now is random.
        self.pooler = not any("pooler" in name for name in missing)
        if other := sorted(name for name in missing if "pooler" not in name):
            raise UserError(
                f"{subject} {place}: its weights lack {len(other)} tensors of {type(self.model).__name__}, as {other[0]}",
                "Name an image encoder of the transformers library, whole",
            )
        self.device = pick_device(environment)
        self.model.to(self.device).eval()
        self.subject, self.place, self.dtype = subject, place, getattr(torch, dtype)
        self.workers = max(1, environment.threads) if self.device == "cpu" else 1

    def encode(self, pictures: Iterable[Callable[[], Image]]) -> tuple[np.ndarray | None, dict[int, str]]:
        """Encode pictures, few of which are in memory at once.

        Args:
            pictures: n functions, each of which hands over a picture or raises `BadPicture`.

        Returns:
            float32 [n, width], zeros for bad pictures (None when all are bad), and row -> reason of the bad ones.
        """
        import numpy as np
        import torch

        before = torch.get_num_threads()
        try:
            with ThreadPoolExecutor(self.workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
                try:
                    answers = list(pool.map(self._vector, pictures))
                except BaseException:
                    pool.shutdown(cancel_futures=True)
                    raise
        finally:
            torch.set_num_threads(before)
        reasons = {row: str(item) for row, item in enumerate(answers) if isinstance(item, BadPicture)}
        good = [row for row in range(len(answers)) if row not in reasons]
        if not good:
            return None, reasons
        vectors = np.zeros((len(answers), len(answers[good[0]])), np.float32)
        vectors[good] = [answers[row] for row in good]
        return vectors, reasons

    def _vector(self, picture: Callable[[], Image]) -> Any:
        """float32 [width], or the `BadPicture`."""
        import torch

        try:
            opened = picture()
        except BadPicture as error:
            return error
        pixels = self.processor(images=opened, return_tensors="pt")["pixel_values"].to(self.device, self.dtype)
        with torch.inference_mode():
            return self._features(pixels)[0].float().cpu().numpy()

    def _features(self, pixels: Any) -> Any:
        """Pixels [1, 3, height, width] -> [1, width]."""
        if hasattr(self.model, "get_image_features"):
            output = self.model.get_image_features(pixel_values=pixels)
            return output if not hasattr(output, "pooler_output") else output.pooler_output.flatten(1)
        output = self.model(pixel_values=pixels)
        if self.pooler and getattr(output, "pooler_output", None) is not None:
            return output.pooler_output.flatten(1)
        state = output.last_hidden_state
        return state[:, 0] if state.ndim == 3 else state.mean(dim=(2, 3))


def save_tiny_encoder(folder: Path) -> None:
    """Write a random ResNet of 24 features with the image processor that belongs to ResNet-50, for `--smoke` and tests."""
    import torch
    from transformers import ConvNextImageProcessorPil, ResNetConfig, ResNetModel

    with torch.random.fork_rng(devices=[]), hub.quiet():
        torch.manual_seed(0)
        ResNetModel(ResNetConfig(embedding_size=8, hidden_sizes=[8, 12, 16, 24], depths=[1, 1, 1, 1])).save_pretrained(folder)
    ConvNextImageProcessorPil(size={"shortest_edge": 32}, crop_pct=0.875, resample=3).save_pretrained(folder)
