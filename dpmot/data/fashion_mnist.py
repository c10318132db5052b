"""Fashion-MNIST: 60,000 + 10,000 grey images of clothes, 28x28, 10 classes.

Source: Xiao, Rasul and Vollgraf, arXiv:1708.07747; MIT licence. The four idx.gz files of the authors lie in
``<root>/fashion-mnist/``.
"""

from dpmot.data._idx import IdxSet

SHAPE = (1, 28, 28)
SUMS = (
    ("f4a8712d7a061bf5bd6d2ca38dc4d50a", "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84", 26421880),
    ("9018921c3c673c538a1fc5bad174d6f9", "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845", 29515),
    ("8181f5470baa50b63fa0f6fddb340f0a", "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073", 4422102),
    ("15d484375f8d13e6eb1aabb0c3f46965", "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5", 5148),
)
SET = IdxSet(
    name="fashion_mnist",
    folder="fashion-mnist",
    address="https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion",
    sums=SUMS,
    note="Fashion-MNIST (Xiao, Rasul and Vollgraf 2017, arXiv:1708.07747), MIT; contents checked by MD5",
)
check, expected, download, load = SET.check, SET.expected, SET.download, SET.load
