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

// func inverseMix(key *[aesBlock]byte)
TEXT ·inverseMix(SB), NOSPLIT, $0-8
	MOVQ key+0(FP), AX
	VMOVDQU (AX), X0
	VAESIMC X0, X0
	VMOVDQU X0, (AX)
	RET

// func encryptCBC(keys *[15][aesBlock]byte, rounds int, iv *[aesBlock]byte, p *byte, n int)
//
// X0 is the block before. The keys of rounds 1 to 9 are in X2 to X10, those of 10
// to 13 in X11 to X14 where there are so many rounds, that of the last in X15.
TEXT ·encryptCBC(SB), NOSPLIT, $0-40
	MOVQ keys+0(FP), AX
	MOVQ rounds+8(FP), BX
	MOVQ iv+16(FP), DX
	MOVQ p+24(FP), SI
	MOVQ n+32(FP), CX
	VMOVDQU (DX), X0
	VMOVDQU 16(AX), X2
	VMOVDQU 32(AX), X3
	VMOVDQU 48(AX), X4
	VMOVDQU 64(AX), X5
	VMOVDQU 80(AX), X6
	VMOVDQU 96(AX), X7
	VMOVDQU 112(AX), X8
	VMOVDQU 128(AX), X9
	VMOVDQU 144(AX), X10
	VMOVDQU 160(AX), X11
	VMOVDQU 176(AX), X12
	VMOVDQU 192(AX), X13
	VMOVDQU 208(AX), X14
	MOVQ BX, DI
	SHLQ $4, DI
	VMOVDQU (AX)(DI*1), X15

encryptBlock:
	VMOVDQU (SI), X1
	VPXOR (AX), X1, X1
	VPXOR X1, X0, X0
	VAESENC X2, X0, X0
	VAESENC X3, X0, X0
	VAESENC X4, X0, X0
	VAESENC X5, X0, X0
	VAESENC X6, X0, X0
	VAESENC X7, X0, X0
	VAESENC X8, X0, X0
	VAESENC X9, X0, X0
	VAESENC X10, X0, X0
	CMPQ BX, $10
	JEQ encryptLast
	VAESENC X11, X0, X0
	VAESENC X12, X0, X0
	CMPQ BX, $12
	JEQ encryptLast
	VAESENC X13, X0, X0
	VAESENC X14, X0, X0

encryptLast:
	VAESENCLAST X15, X0, X0
	VMOVDQU X0, (SI)
	ADDQ $16, SI
	DECQ CX
	JNZ encryptBlock
	VMOVDQU X0, (DX)
	RET

// func decryptCBC(keys *[15][aesBlock]byte, rounds int, iv *[aesBlock]byte, p *byte, n int)
//
// X9 is the ciphertext of the block before.
TEXT ·decryptCBC(SB), NOSPLIT, $0-40
	MOVQ keys+0(FP), AX
	MOVQ rounds+8(FP), BX
	MOVQ iv+16(FP), DX
	MOVQ p+24(FP), SI
	MOVQ n+32(FP), CX
	VMOVDQU (DX), X9
	MOVQ BX, R8
	SHLQ $4, R8
	ADDQ AX, R8 // the last key
	CMPQ CX, $8
	JLT decryptOne

decryptEight:
	VMOVDQU (AX), X8
	VPXOR (SI), X8, X0
	VPXOR 16(SI), X8, X1
	VPXOR 32(SI), X8, X2
	VPXOR 48(SI), X8, X3
	VPXOR 64(SI), X8, X4
	VPXOR 80(SI), X8, X5
	VPXOR 96(SI), X8, X6
	VPXOR 112(SI), X8, X7
	LEAQ 16(AX), DI

eightRound:
	VMOVDQU (DI), X8
	VAESDEC X8, X0, X0
	VAESDEC X8, X1, X1
	VAESDEC X8, X2, X2
	VAESDEC X8, X3, X3
	VAESDEC X8, X4, X4
	VAESDEC X8, X5, X5
	VAESDEC X8, X6, X6
	VAESDEC X8, X7, X7
	ADDQ $16, DI
	CMPQ DI, R8
	JNE eightRound
	VMOVDQU (R8), X8
	VAESDECLAST X8, X0, X0
	VAESDECLAST X8, X1, X1
	VAESDECLAST X8, X2, X2
	VAESDECLAST X8, X3, X3
	VAESDECLAST X8, X4, X4
	VAESDECLAST X8, X5, X5
	VAESDECLAST X8, X6, X6
	VAESDECLAST X8, X7, X7
	VPXOR X9, X0, X0
	VPXOR (SI), X1, X1
	VPXOR 16(SI), X2, X2
	VPXOR 32(SI), X3, X3
	VPXOR 48(SI), X4, X4
	VPXOR 64(SI), X5, X5
	VPXOR 80(SI), X6, X6
	VPXOR 96(SI), X7, X7
	VMOVDQU 112(SI), X9
	VMOVDQU X0, (SI)
	VMOVDQU X1, 16(SI)
	VMOVDQU X2, 32(SI)
	VMOVDQU X3, 48(SI)
	VMOVDQU X4, 64(SI)
	VMOVDQU X5, 80(SI)
	VMOVDQU X6, 96(SI)
	VMOVDQU X7, 112(SI)
	ADDQ $128, SI
	SUBQ $8, CX
	CMPQ CX, $8
	JGE decryptEight
	TESTQ CX, CX
	JZ decryptDone

decryptOne:
	VMOVDQU (SI), X1
	VPXOR (AX), X1, X0
	LEAQ 16(AX), DI

oneRound:
	VMOVDQU (DI), X8
	VAESDEC X8, X0, X0
	ADDQ $16, DI
	CMPQ DI, R8
	JNE oneRound
	VMOVDQU (R8), X8
	VAESDECLAST X8, X0, X0
	VPXOR X9, X0, X0
	VMOVDQU X1, X9
	VMOVDQU X0, (SI)
	ADDQ $16, SI
	DECQ CX
	JNZ decryptOne

decryptDone:
	VMOVDQU X9, (DX)
	RET
