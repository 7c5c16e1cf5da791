"""eyes: drawn eyes with a mask of background, sclera, iris and pupil, 48x48 grey; OpenEDS in small, without a file.

Two parabolas are the lids, ellipses that follow the gaze are iris and pupil. Lashes, glints, brow, crease, shadow,
light from one side, blur and noise lie over them and leave the mask as it is. Classes are numbered as in OpenEDS.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from repro.datasets.drawn import CHUNK, DrawnSource, Stream, pixels, segments, to_bytes
from repro.datasets.registry import info
from repro.datasets.source import Decoded

SIZE = 48
LASHES = 14
BACKGROUND, SCLERA, IRIS, PUPIL = range(4)


class EyesSource(DrawnSource):
    """Every eye is drawn anew; training and test eyes share nothing but the ranges."""

    version = "eyes 1"

    def read(self) -> Decoded:
        """1,000 training or 400 test eyes; labels are masks (N, 48, 48) uint8."""
        entry = info(self.name)
        stream, count = Stream(entry.seed, self.split), entry.rows[self.split]  # type: ignore[arg-type]
        images, masks = zip(*(draw(min(CHUNK, count - start), stream) for start in range(0, count, CHUNK)))
        return Decoded(np.concatenate(images)[:, None], np.concatenate(masks), None, {"image_format": "grey 0..255"})


def draw(number: int, stream: Stream) -> tuple[np.ndarray, np.ndarray]:
    """Images and masks, both (number, 48, 48) uint8."""

    def each(low: float, high: float) -> np.ndarray:
        return stream.uniform(low, high, number, 1, 1)

    # The eye's own axes: `across` from its middle to its corners, `down` from the line between the corners.
    rows, columns = pixels(SIZE)
    row, column = rows - SIZE / 2 - each(-2, 6), columns - SIZE / 2 - each(-4, 4)
    cosine, sine = (part[:, None, None] for part in stream.turn(0.1, number))
    across, down = cosine * column + sine * row, cosine * row - sine * column

    width = each(15, 20)
    bow = np.maximum(1 - (across / width) * (across / width), 0.0)
    open_above, open_below = each(4, 12), each(3, 6)
    below_lid = down + open_above * bow  # pixels under the upper lid
    inside = (below_lid > 0) & (down < open_below * bow)

    gaze_across, gaze_down = each(-6, 6), each(-4.5, 1.5)
    radius, share = each(6.5, 9), each(0.3, 0.6)
    foreshortened = 1 - 0.4 * (gaze_across / width) * (gaze_across / width)
    off_across, off_down = (across - gaze_across) / foreshortened, down - gaze_down
    from_iris = np.sqrt(off_across * off_across + off_down * off_down) / radius
    in_iris, in_pupil = inside & (from_iris < 1), inside & (from_iris < share)
    masks = np.where(in_pupil, PUPIL, np.where(in_iris, IRIS, np.where(inside, SCLERA, BACKGROUND))).astype(np.uint8)

    skin = each(0.45, 0.75)
    iris, pupil = each(0.22, 0.55), each(0.03, 0.16)
    grey = np.where(inside, skin + each(0.0, 0.25), skin)
    ring = iris * (1 - each(0.1, 0.5) * np.clip((from_iris - 0.75) * 4, 0.0, 1.0))
    grey = np.where(in_iris, ring * (1 + stream.noise(0.08, number, SIZE, SIZE)), grey)
    grey = np.where(in_pupil, pupil, grey)
    shade, depth = each(0.0, 0.5), each(2, 5)  # of the upper lid on the eye
    grey = np.where(inside, grey * (1 - shade * np.clip(1 - below_lid / depth, 0.0, 1.0)), grey)

    crease = np.abs(below_lid + each(2.5, 5)) * np.where(bow > 0.15, 1.0, 9.0)
    grey = grey * (1 - each(0.1, 0.35) * np.clip(1.4 - crease, 0.0, 1.0))
    arch = np.maximum(1 - across * across / 500, 0.0)
    brow = np.abs(down + each(16, 22) * (0.6 + 0.4 * arch)) - each(0.8, 2.2)
    grey = grey * (1 - each(0.0, 0.6) * np.clip(1 - brow, 0.0, 1.0))
    rim = np.abs(np.where(down < 0, below_lid, down - open_below * bow)) * np.where(bow > 0, 1.0, 9.0)
    grey = grey * (1 - each(0.1, 0.5) * np.clip(1.2 - rim, 0.0, 1.0))

    grey = _lashes(grey, stream, width, open_above, (cosine, sine), (rows - row, columns - column))
    for _ in range(2):
        spot_across, spot_down, spot = gaze_across + each(-4, 4), gaze_down + each(-4, 2), each(-0.3, 1.3)
        off_across, off_down = across - spot_across, down - spot_down
        glint = np.clip(spot + 0.5 - np.sqrt(off_across * off_across + off_down * off_down), 0.0, 1.0) * inside
        grey = grey + glint * (each(0.8, 1.0) - grey)
    grey = grey * (1 + each(-0.3, 0.3) * across / SIZE + each(-0.3, 0.3) * down / SIZE)
    blur = each(0.0, 1.0)
    for _ in range(2):
        grey = (1 - blur) * grey + blur * _blurred(grey)
    return to_bytes(grey + each(0.01, 0.06) * stream.noise(1.0, number, SIZE, SIZE)), masks


def _lashes(grey, stream: Stream, width, open_above, turned, origin) -> np.ndarray:
    """Grey values (N, H, W) with dark hairs from the upper lid outwards, a few of them hanging over the eye."""
    number = len(grey)
    (cosine, sine), (top, left) = turned, origin
    cosine, sine, middle_row, middle_column = (
        np.broadcast_to(part, (number, 1, 1))[:, 0, 0] for part in (cosine, sine, top[:, :1], left[:, :, :1])
    )
    darkness = stream.uniform(0.0, 0.7, number, 1, 1)
    for lash in range(LASHES):
        place = (lash + stream.uniform(0, 1, number)) / LASHES * 1.9 - 0.95
        start_across = place * width[:, 0, 0]
        start_down = -open_above[:, 0, 0] * (1 - place * place)
        end_across = start_across + place * 2.5 + stream.uniform(-1, 1, number)
        end_down = start_down - stream.uniform(-1.5, 4.5, number)
        ends = []
        for a, d in ((start_across, start_down), (end_across, end_down)):  # back to rows and columns
            ends += [middle_row + sine * a + cosine * d, middle_column + cosine * a - sine * d]
        grey = grey * (1 - darkness * np.clip(1 - segments(*ends, SIZE), 0.0, 1.0))  # type: ignore[call-arg]
    return grey


def _blurred(grey: np.ndarray) -> np.ndarray:
    """A 1-2-1 filter along both axes; border pixels stand for what lies beyond them."""
    for axis in (1, 2):
        around = np.pad(grey, [(int(a == axis),) * 2 for a in range(3)], mode="edge")
        before, middle, after = (np.take(around, range(at, at + SIZE), axis) for at in range(3))
        grey = (before + 2 * middle + after) / 4
    return grey


def locate(split: str, root: Path) -> EyesSource:
    """Eyes need no files."""
    return EyesSource("eyes", split, root, ())
