"""What data sets there are: names, sizes, where they come from and the published checksums."""

from __future__ import annotations

from dataclasses import dataclass

from repro.errors import check_choice

SPLITS = ("train", "test")
"""Splits of an image data set."""
CLASSIFICATION, SEGMENTATION = TASKS = ("classification", "segmentation")

_FASHION_URL = "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/"
_CIFAR_URL = "https://www.cs.toronto.edu/~kriz/"


@dataclass(frozen=True)
class RemoteFile:
    """One file to download.

    `sha256` and `num_bytes` are of the file as published. `content_sha256` is of its unpacked content, for files that
    distributions compress anew (the same bytes inside another gzip header).
    """

    file_name: str
    url: str
    sha256: str
    num_bytes: int
    content_sha256: str | None = None


@dataclass(frozen=True)
class DatasetInfo:
    """One entry of the registry; `rows` counts the images of each split.

    task: whether a label is a class or a mask, a class per pixel. folders: where below the data root a set may lie
    that is brought by the user and read file by file. seed: of a data set that is drawn.
    """

    name: str
    title: str
    num_classes: int
    channels: int
    size: int
    rows: dict[str, int]
    files: tuple[RemoteFile, ...]
    class_names: tuple[str, ...] | None
    terms: str
    task: str = CLASSIFICATION
    folders: tuple[str, ...] = ()
    seed: int | None = None

    @property
    def download_mib(self) -> float:
        """Size of the download in MiB; 0 for data that a dependency ships."""
        return sum(file.num_bytes for file in self.files) / 2**20


def _files(
    name: str, title: str, num_classes: int, rows: tuple[int, int], *folders: str, task: str = CLASSIFICATION
) -> DatasetInfo:
    """A set of many files, read in colour at 224x224 pixels unless asked otherwise; its users fetch it themselves."""
    return DatasetInfo(
        name=name,
        title=title,
        num_classes=num_classes,
        channels=3,
        size=224,
        rows=dict(zip(SPLITS, rows, strict=True)),
        files=(),
        class_names=None,
        terms="the authors'",
        task=task,
        folders=folders,
    )


REGISTRY: dict[str, DatasetInfo] = {
    info.name: info
    for info in (
        DatasetInfo(
            name="digits",
            title="handwritten digits, 8x8 grey (UCI, shipped with scikit-learn)",
            num_classes=10,
            channels=1,
            size=8,
            rows={"train": 1437, "test": 360},
            files=(),
            class_names=tuple("0123456789"),
            terms="CC BY 4.0 (UCI repository), distributed by scikit-learn",
        ),
        DatasetInfo(
            name="glyphs",
            title="digits in clutter, 16x16 grey (drawn here from scikit-learn's)",
            num_classes=10,
            channels=1,
            size=16,
            rows={"train": 6000, "test": 4000},
            files=(),
            class_names=tuple("0123456789"),
            terms="CC BY 4.0, as the digits they are drawn from",
            seed=11,
        ),
        DatasetInfo(
            name="eyes",
            title="drawn eyes with masks of sclera, iris and pupil, 48x48 grey",
            num_classes=4,
            channels=1,
            size=48,
            rows={"train": 1000, "test": 400},
            files=(),
            class_names=("background", "sclera", "iris", "pupil"),
            terms="drawn by this package",
            task=SEGMENTATION,
            seed=17,
        ),
        DatasetInfo(
            name="fashion-mnist",
            title="clothing, 28x28 grey (Zalando Research)",
            num_classes=10,
            channels=1,
            size=28,
            rows={"train": 60000, "test": 10000},
            # Published sums; the content sums are those of the unpacked files in Debian's dataset-fashion-mnist.
            files=(
                RemoteFile(
                    "train-images-idx3-ubyte.gz",
                    _FASHION_URL + "train-images-idx3-ubyte.gz",
                    "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
                    26421880,
                    "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
                ),
                RemoteFile(
                    "train-labels-idx1-ubyte.gz",
                    _FASHION_URL + "train-labels-idx1-ubyte.gz",
                    "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
                    29515,
                    "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
                ),
                RemoteFile(
                    "t10k-images-idx3-ubyte.gz",
                    _FASHION_URL + "t10k-images-idx3-ubyte.gz",
                    "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
                    4422102,
                    "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
                ),
                RemoteFile(
                    "t10k-labels-idx1-ubyte.gz",
                    _FASHION_URL + "t10k-labels-idx1-ubyte.gz",
                    "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
                    5148,
                    "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
                ),
            ),
            class_names=(
                "T-shirt/top",
                "Trouser",
                "Pullover",
                "Dress",
                "Coat",
                "Sandal",
                "Shirt",
                "Sneaker",
                "Bag",
                "Ankle boot",
            ),
            terms="MIT",
        ),
        DatasetInfo(
            name="cifar10",
            title="small photographs in 10 classes, 32x32 colour (Krizhevsky 2009)",
            num_classes=10,
            channels=3,
            size=32,
            rows={"train": 50000, "test": 10000},
            files=(
                RemoteFile(
                    "cifar-10-python.tar.gz",
                    _CIFAR_URL + "cifar-10-python.tar.gz",
                    "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
                    170498071,
                ),
            ),
            class_names=(
                "airplane",
                "automobile",
                "bird",
                "cat",
                "deer",
                "dog",
                "frog",
                "horse",
                "ship",
                "truck",
            ),
            terms="no licence stated; cite Krizhevsky 2009",
        ),
        DatasetInfo(
            name="cifar100",
            title="small photographs in 100 classes, 32x32 colour (Krizhevsky 2009)",
            num_classes=100,
            channels=3,
            size=32,
            rows={"train": 50000, "test": 10000},
            files=(
                RemoteFile(
                    "cifar-100-python.tar.gz",
                    _CIFAR_URL + "cifar-100-python.tar.gz",
                    "85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7",
                    169001437,
                ),
            ),
            class_names=None,
            terms="no licence stated; cite Krizhevsky 2009",
        ),
        _files("food101", "dishes in 101 classes (Bossard et al. 2014)", 101, (75750, 25250), "food-101"),
        _files("flowers102", "flowers in 102 classes (Nilsback and Zisserman 2008)", 102, (2040, 6149), "flowers-102"),
        _files("stanford-cars", "cars in 196 classes (Krause et al. 2013)", 196, (8144, 8041), "stanford_cars"),
        _files("pets", "cats and dogs in 37 breeds (Parkhi et al. 2012)", 37, (3680, 3669), "oxford-iiit-pet"),
        _files(
            "voc2012",
            "photographs with masks of 20 kinds of objects (Everingham et al. 2012)",
            21,
            (1464, 1449),
            "VOCdevkit/VOC2012",
            task=SEGMENTATION,
        ),
        _files(
            "openeds",
            "infrared eyes with masks of sclera, iris and pupil (Garbin et al. 2019)",
            4,
            (8916, 2403),
            "openeds",
            "Semantic_Segmentation_Dataset",
            task=SEGMENTATION,
        ),
    )
}
"""Name -> what is known of an image data set before it is opened."""


def info(name: str) -> DatasetInfo:
    """The registry's entry of `name`; InputError with the nearest name if there is none."""
    return REGISTRY[check_choice("dataset", name, REGISTRY)]
