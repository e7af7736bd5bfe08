import numpy as np
from numpy.typing import NDArray
from typing_extensions import CapsuleType

def instructions(capsule: CapsuleType) -> str: ...
def sgd(
    capsule: CapsuleType,
    params: NDArray[np.float32],
    grads: NDArray[np.float32],
    velocity: NDArray[np.float32],
    lr: float,
    momentum: float,
    nesterov: bool,
    weight_decay: float,
) -> None: ...
def sdlm(
    capsule: CapsuleType,
    params: NDArray[np.float32],
    grads: NDArray[np.float32],
    inverse: NDArray[np.float32],
    lr: float,
) -> None: ...
def adam(
    capsule: CapsuleType,
    params: NDArray[np.float32],
    grads: NDArray[np.float32],
    m: NDArray[np.float32],
    v: NDArray[np.float32],
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    correction1: float,
    correction2: float,
    weight_decay: float,
    decoupled: bool,
) -> None: ...
def adagrad(
    capsule: CapsuleType,
    params: NDArray[np.float32],
    grads: NDArray[np.float32],
    squares: NDArray[np.float32],
    lr: float,
    eps: float,
    weight_decay: float,
) -> None: ...
def rmsprop(
    capsule: CapsuleType,
    params: NDArray[np.float32],
    grads: NDArray[np.float32],
    squares: NDArray[np.float32],
    velocity: NDArray[np.float32],
    lr: float,
    alpha: float,
    eps: float,
    momentum: float,
    weight_decay: float,
) -> None: ...
def burst(capsule: CapsuleType, rounds: int, num_threads: int) -> float: ...
