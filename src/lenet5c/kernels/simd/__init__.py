"""Operations on 16 lanes, and the choice of an instruction set."""
