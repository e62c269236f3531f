#include "textflag.h"

// func subWord(w uint32) uint32
//
// The last round without a key is ShiftRows and SubBytes, and ShiftRows changes
// nothing where all columns are equal.
TEXT ·subWord(SB), NOSPLIT, $0-12
	MOVL w+0(FP), AX
	VMOVD AX, X0
	VPSHUFD $0, X0, X0
	VPXOR X1, X1, X1
	VAESENCLAST X1, X0, X0
	VMOVD X0, AX
	MOVL AX, ret+8(FP)
	RET

// func inverseMix(key *[Block]byte)
TEXT ·inverseMix(SB), NOSPLIT, $0-8
	MOVQ key+0(FP), AX
	VMOVDQU (AX), X0
	VAESIMC X0, X0
	VMOVDQU X0, (AX)
	RET
