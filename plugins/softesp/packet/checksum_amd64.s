#include "textflag.h"

// func sumVectors(b []byte) uint64
//
// Each turn takes two vectors of eight 32-bit words, and adds the words of even
// and of odd place to 64-bit sums of their own: no carry is lost, and no addition
// waits for the one before.
TEXT ·sumVectors(SB), NOSPLIT, $0-32
	MOVQ b_base+0(FP), SI
	MOVQ b_len+8(FP), CX
	VPXOR Y0, Y0, Y0
	VPXOR Y1, Y1, Y1
	VPXOR Y2, Y2, Y2
	VPXOR Y3, Y3, Y3
	VPCMPEQD Y8, Y8, Y8
	VPSRLQ $32, Y8, Y8 // the lower halves

turn:
	VMOVDQU (SI), Y4
	VMOVDQU 32(SI), Y5
	VPAND Y8, Y4, Y6
	VPAND Y8, Y5, Y7
	VPSRLQ $32, Y4, Y4
	VPSRLQ $32, Y5, Y5
	VPADDQ Y6, Y0, Y0
	VPADDQ Y7, Y1, Y1
	VPADDQ Y4, Y2, Y2
	VPADDQ Y5, Y3, Y3
	ADDQ $64, SI
	SUBQ $64, CX
	JNZ turn

	VPADDQ Y1, Y0, Y0
	VPADDQ Y3, Y2, Y2
	VPADDQ Y2, Y0, Y0
	VEXTRACTI128 $1, Y0, X1
	VPADDQ X1, X0, X0
	VPSRLDQ $8, X0, X1
	VPADDQ X1, X0, X0
	VMOVQ X0, AX
	VZEROUPPER
	MOVQ AX, ret+24(FP)
	RET
