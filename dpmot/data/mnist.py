"""MNIST: 60,000 + 10,000 grey images of handwritten digits, 28x28, 10 classes.

Source: LeCun, Cortes and Burges, "The MNIST database of handwritten digits"; usually stated as CC BY-SA 3.0. The four
idx.gz files of the authors lie in ``<root>/mnist/``.
"""

from dpmot.data._idx import IdxSet

SHAPE = (1, 28, 28)
SUMS = (
    ("6bbc9ace898e44ae57da46a324031adb", "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609", 9912422),
    ("a25bea736e30d166cdddb491f175f624", "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c", 28881),
    ("2646ac647ad5339dbf082846283269ea", "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6", 1648877),
    ("27ae3e4e09519cfbb04c329615203637", "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6", 4542),
)
SET = IdxSet(
    name="mnist",
    folder="mnist",
    address="https://ossci-datasets.s3.amazonaws.com/mnist",  # the authors' own page no longer serves the files
    sums=SUMS,
    note="MNIST (LeCun, Cortes and Burges), CC BY-SA 3.0 as usually stated; contents checked by MD5",
)
check, expected, download, load = SET.check, SET.expected, SET.download, SET.load
