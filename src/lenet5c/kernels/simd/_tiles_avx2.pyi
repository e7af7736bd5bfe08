from typing_extensions import CapsuleType

kernels: CapsuleType
