#include "textflag.h"

// Four blocks, 64 octets, lie in each Z register, and a step is four registers.
//
//	AX      *keys: powers of H from 0 on, round keys from KEYS on
//	BX R8   rounds, address of the last round key
//	CX      octets that are left
//	SI DI   where they are read and written
//	Z0-Z3   counter blocks on their way through AES
//	Z4-Z7   ciphertext on its way into GHASH, octets reversed
//	Z8-Z10  products: lower, middle and upper part
//	Z11-Z14 short-lived
//	Z15     GHASH so far, in the lowest block; the others are zero
//	Z16 Z17 the next four counter blocks, octets reversed; what is added to them
//	Z18 Z19 order of reversed octets; the polynomial
//	Z20-Z23 powers of H for the four registers of a step
//	Z24-Z27 input
//	Z28     last round key
//	Z29     short-lived
//	Z30 Z31 block of counter 1, and its way through AES
//
// GHASH numbers bits from the left (SP 800-38D section 6.3). With octets reversed,
// a product of two blocks is their product as polynomials whose bits are numbered
// from the right, times x. So H is kept multiplied by x, modulo
// x^128 + x^127 + x^126 + x^121 + 1, and products are divided by x^128.

#define KEYS 272
#define H1   256

DATA reverse<>+0(SB)/8, $0x08090a0b0c0d0e0f
DATA reverse<>+8(SB)/8, $0x0001020304050607
GLOBL reverse<>(SB), RODATA|NOPTR, $16

DATA polynomial<>+0(SB)/8, $0x0000000000000001
DATA polynomial<>+8(SB)/8, $0xc200000000000000
GLOBL polynomial<>(SB), RODATA|NOPTR, $16

// Data begin with counter 2: 1 is the tag's.
DATA counters<>+0(SB)/8, $1
DATA counters<>+8(SB)/8, $0
DATA counters<>+16(SB)/8, $2
DATA counters<>+24(SB)/8, $0
DATA counters<>+32(SB)/8, $3
DATA counters<>+40(SB)/8, $0
DATA counters<>+48(SB)/8, $4
DATA counters<>+56(SB)/8, $0
GLOBL counters<>(SB), RODATA|NOPTR, $64

DATA four<>+0(SB)/8, $4
DATA four<>+8(SB)/8, $0
GLOBL four<>(SB), RODATA|NOPTR, $16

// COUNTERS makes the next 16 counter blocks and adds the first round key.
#define COUNTERS \
	VBROADCASTI32X4 KEYS(AX), Z14; \
	VPSHUFB         Z18, Z16, Z0; \
	VPADDD          Z17, Z16, Z16; \
	VPSHUFB         Z18, Z16, Z1; \
	VPADDD          Z17, Z16, Z16; \
	VPSHUFB         Z18, Z16, Z2; \
	VPADDD          Z17, Z16, Z16; \
	VPSHUFB         Z18, Z16, Z3; \
	VPADDD          Z17, Z16, Z16; \
	VPXORQ          Z14, Z0, Z0; \
	VPXORQ          Z14, Z1, Z1; \
	VPXORQ          Z14, Z2, Z2; \
	VPXORQ          Z14, Z3, Z3

// ROUND is round i of AES.
#define ROUND(i) \
	VBROADCASTI32X4 (KEYS+16*i)(AX), Z14; \
	VAESENC         Z14, Z0, Z0; \
	VAESENC         Z14, Z1, Z1; \
	VAESENC         Z14, Z2, Z2; \
	VAESENC         Z14, Z3, Z3

// TAGROUND is ROUND with the block of the tag.
#define TAGROUND(i) \
	ROUND(i); \
	VAESENC X14, X31, X31

// MULTIPLY0 multiplies each block of d with one of p.
#define MULTIPLY0(d, p) \
	VPCLMULQDQ $0x00, p, d, Z8; \
	VPCLMULQDQ $0x01, p, d, Z9; \
	VPCLMULQDQ $0x10, p, d, Z11; \
	VPCLMULQDQ $0x11, p, d, Z10; \
	VPXORQ     Z11, Z9, Z9

// MULTIPLY likewise, and adds to the products that are there.
#define MULTIPLY(d, p) \
	VPCLMULQDQ $0x00, p, d, Z11; \
	VPCLMULQDQ $0x01, p, d, Z12; \
	VPCLMULQDQ $0x10, p, d, Z13; \
	VPCLMULQDQ $0x11, p, d, Z29; \
	VPXORQ     Z11, Z8, Z8; \
	VPTERNLOGQ $0x96, Z13, Z12, Z9; \
	VPXORQ     Z29, Z10, Z10

// REDUCE1 and REDUCE2 divide by x^64 each: what is below x^64 is made zero by
// adding a multiple of the polynomial. REDUCE3 adds up the four blocks.
#define REDUCE1 \
	VPCLMULQDQ $0x10, Z19, Z8, Z11; \
	VPSHUFD    $0x4e, Z8, Z8; \
	VPTERNLOGQ $0x96, Z11, Z8, Z9

#define REDUCE2 \
	VPCLMULQDQ $0x10, Z19, Z9, Z11; \
	VPSHUFD    $0x4e, Z9, Z9; \
	VPTERNLOGQ $0x96, Z11, Z9, Z10

#define REDUCE3 \
	VEXTRACTI64X4 $1, Z10, Y11; \
	VPXOR         Y11, Y10, Y10; \
	VEXTRACTI128  $1, Y10, X11; \
	VPXOR         X11, X10, X15

#define REDUCE \
	REDUCE1; \
	REDUCE2; \
	REDUCE3

// FIRSTROUNDS are the rounds that all lengths of keys have.
#define FIRSTROUNDS(R) \
	R(1); \
	R(2); \
	R(3); \
	R(4); \
	R(5); \
	R(6); \
	R(7); \
	R(8); \
	R(9)

// FIRSTROUNDSANDHASH are also a step of GHASH: the ports of the processor that
// multiply are others than those that encrypt. The register that waits for the
// step before comes last.
#define FIRSTROUNDSANDHASH \
	ROUND(1); \
	MULTIPLY0(Z5, Z21); \
	ROUND(2); \
	MULTIPLY(Z6, Z22); \
	ROUND(3); \
	MULTIPLY(Z7, Z23); \
	ROUND(4); \
	VPXORQ Z15, Z4, Z4; \
	MULTIPLY(Z4, Z20); \
	ROUND(5); \
	REDUCE1; \
	ROUND(6); \
	ROUND(7); \
	REDUCE2; \
	ROUND(8); \
	ROUND(9); \
	REDUCE3

// MOREROUNDS are those that longer keys have.
#define MOREROUNDS(R, last) \
	CMPQ BX, $12; \
	JCS  last; \
	R(10); \
	R(11); \
	JEQ  last; \
	R(12); \
	R(13)

// CRYPT is the last round and adds 256 octets of input.
#define CRYPT \
	VPXORQ      (SI), Z28, Z24; \
	VPXORQ      64(SI), Z28, Z25; \
	VPXORQ      128(SI), Z28, Z26; \
	VPXORQ      192(SI), Z28, Z27; \
	VAESENCLAST Z24, Z0, Z0; \
	VAESENCLAST Z25, Z1, Z1; \
	VAESENCLAST Z26, Z2, Z2; \
	VAESENCLAST Z27, Z3, Z3; \
	VMOVDQU64   Z0, (DI); \
	VMOVDQU64   Z1, 64(DI); \
	VMOVDQU64   Z2, 128(DI); \
	VMOVDQU64   Z3, 192(DI); \
	ADDQ        $256, SI; \
	ADDQ        $256, DI; \
	SUBQ        $256, CX

// REVERSE makes input of GHASH of four registers.
#define REVERSE(a, b, c, d) \
	VPSHUFB Z18, a, Z4; \
	VPSHUFB Z18, b, Z5; \
	VPSHUFB Z18, c, Z6; \
	VPSHUFB Z18, d, Z7

// POWERS loads H^16 to H^1.
#define POWERS \
	VMOVDQU64 16(AX), Z20; \
	VMOVDQU64 80(AX), Z21; \
	VMOVDQU64 144(AX), Z22; \
	VMOVDQU64 208(AX), Z23

// CONSTANTS loads what does not change.
#define CONSTANTS \
	VBROADCASTI32X4 reverse<>(SB), Z18; \
	VBROADCASTI32X4 polynomial<>(SB), Z19

// BEGIN takes what seal and open have alike. The nonce is read as salt and IV,
// the way in which it was written: a load across two stores would wait for both.
#define BEGIN \
	MOVQ            k+0(FP), AX; \
	MOVQ            512(AX), BX; \
	MOVQ            BX, R8; \
	SHLQ            $4, R8; \
	LEAQ            KEYS(AX)(R8*1), R8; \
	CONSTANTS; \
	VBROADCASTI32X4 four<>(SB), Z17; \
	VBROADCASTI32X4 (R8), Z28; \
	MOVQ            nonce+8(FP), DX; \
	MOVL            (DX), R9; \
	MOVQ            4(DX), R10; \
	MOVQ            R10, R11; \
	SHLQ            $32, R11; \
	ORQ             R11, R9; \
	SHRQ            $32, R10; \
	BTSQ            $56, R10; \
	VMOVQ           R9, X0; \
	VPINSRQ         $1, R10, X0, X0; \
	VMOVDQA64       X0, X30; \
	VSHUFI64X2      $0, Z0, Z0, Z16; \
	VPSHUFB         Z18, Z16, Z16; \
	VPADDD          counters<>(SB), Z16, Z16; \
	MOVQ            dst+16(FP), DI; \
	MOVQ            src+24(FP), SI; \
	MOVQ            n+32(FP), CX; \
	MOVQ            additional+40(FP), R9; \
	MOVQ            m+48(FP), R10; \
	MOVQ            $-1, R11; \
	MOVL            $16, R13; \
	VPXOR           X15, X15, X15

// ADDITIONAL hashes additional data, block by block. ESP has one, of 8 octets, or 12
// with extended sequence numbers, which was written right before. It is read the way in
// which it was written: a load of 16 octets would wait for all that was stored until
// then, the end of the packet before included.
#define ADDITIONAL(next, eight, twelve, hash, done) \
	TESTQ       R10, R10; \
	JLE         done; \
	CMPQ        R10, $8; \
	JEQ         eight; \
	CMPQ        R10, $12; \
	JEQ         twelve; \
	MOVQ        R10, R12; \
	CMPQ        R12, R13; \
	CMOVQGT     R13, R12; \
	BZHIQ       R12, R11, R12; \
	KMOVQ       R12, K1; \
	VMOVDQU8.Z  (R9), K1, X4; \
	JMP         hash; \
twelve: \
	VMOVQ       (R9), X4; \
	VPINSRD     $2, 8(R9), X4, X4; \
	JMP         hash; \
eight: \
	VMOVQ       (R9), X4; \
hash: \
	VPSHUFB     X18, X4, X4; \
	VPXOR       X15, X4, X4; \
	VMOVDQU     H1(AX), X5; \
	MULTIPLY0(Z4, Z5); \
	REDUCE; \
	ADDQ        $16, R9; \
	SUBQ        $16, R10; \
	JMP         next

// TAIL begins the last step: masks of the 0 to 255 octets that are left, where
// the powers of H begin for as many blocks and one more (that of the lengths),
// the input, zero behind its end, and the first rounds. Powers beyond H^1 are
// round keys, and what they are multiplied with is zero.
#define TAIL \
	LEAQ         15(CX), R9; \
	ANDQ         $~15, R9; \
	LEAQ         H1(AX), R12; \
	SUBQ         R9, R12; \
	XORL         R10, R10; \
	BZHIQ        CX, R11, R9; \
	KMOVQ        R9, K1; \
	SUBQ         $64, CX; \
	CMOVQLT      R10, CX; \
	BZHIQ        CX, R11, R9; \
	KMOVQ        R9, K2; \
	SUBQ         $64, CX; \
	CMOVQLT      R10, CX; \
	BZHIQ        CX, R11, R9; \
	KMOVQ        R9, K3; \
	SUBQ         $64, CX; \
	CMOVQLT      R10, CX; \
	BZHIQ        CX, R11, R9; \
	KMOVQ        R9, K4; \
	VMOVDQU8.Z   (SI), K1, Z24; \
	VMOVDQU8.Z   64(SI), K2, Z25; \
	VMOVDQU8.Z   128(SI), K3, Z26; \
	VMOVDQU8.Z   192(SI), K4, Z27; \
	COUNTERS; \
	VPXORQ       X14, X30, X31; \
	FIRSTROUNDS(TAGROUND)

// TAILCRYPT is the last round of the last step.
#define TAILCRYPT \
	VAESENCLAST  Z28, Z0, Z0; \
	VAESENCLAST  Z28, Z1, Z1; \
	VAESENCLAST  Z28, Z2, Z2; \
	VAESENCLAST  Z28, Z3, Z3; \
	VAESENCLAST  X28, X31, X31; \
	VPXORQ       Z24, Z0, Z0; \
	VPXORQ       Z25, Z1, Z1; \
	VPXORQ       Z26, Z2, Z2; \
	VPXORQ       Z27, Z3, Z3; \
	VMOVDQU8     Z0, K1, (DI); \
	VMOVDQU8     Z1, K2, 64(DI); \
	VMOVDQU8     Z2, K3, 128(DI); \
	VMOVDQU8     Z3, K4, 192(DI)

// TAG hashes the last step and the lengths in bits, and writes the tag.
#define TAG \
	VMOVDQU64 64(R12), Z21; \
	VMOVDQU64 128(R12), Z22; \
	VMOVDQU64 192(R12), Z23; \
	VMOVDQU64 (R12), Z20; \
	MULTIPLY0(Z5, Z21); \
	MULTIPLY(Z6, Z22); \
	MULTIPLY(Z7, Z23); \
	MOVQ      n+32(FP), R9; \
	SHLQ      $3, R9; \
	MOVQ      m+48(FP), R10; \
	SHLQ      $3, R10; \
	VMOVQ     R9, X0; \
	VPINSRQ   $1, R10, X0, X0; \
	VMOVDQU   H1(AX), X1; \
	MULTIPLY(Z0, Z1); \
	VPXORQ    Z15, Z4, Z4; \
	MULTIPLY(Z4, Z20); \
	REDUCE; \
	VPSHUFB   X18, X15, X15; \
	VPXORQ    X31, X15, X15; \
	MOVQ      tag+56(FP), DX; \
	VMOVDQU   X15, (DX); \
	VZEROUPPER

// func seal(k *keys, nonce *[nonceLen]byte, dst, src *byte, n int, additional *byte, m int, tag *[block]byte)
//
// Each step hashes what the one before has encrypted.
TEXT ·seal(SB), NOSPLIT, $0-64
	BEGIN

sealAdditional:
	ADDITIONAL(sealAdditional, sealEight, sealTwelve, sealHash, sealFirst)

sealFirst:
	CMPQ CX, $256
	JLT  sealTail
	POWERS
	COUNTERS
	FIRSTROUNDS(ROUND)
	MOREROUNDS(ROUND, sealFirstLast)

sealFirstLast:
	CRYPT
	REVERSE(Z0, Z1, Z2, Z3)
	CMPQ CX, $256
	JLT  sealDrain

sealStep:
	COUNTERS
	FIRSTROUNDSANDHASH
	MOREROUNDS(ROUND, sealStepLast)

sealStepLast:
	CRYPT
	REVERSE(Z0, Z1, Z2, Z3)
	CMPQ CX, $256
	JGE  sealStep

sealDrain:
	MULTIPLY0(Z5, Z21)
	MULTIPLY(Z6, Z22)
	MULTIPLY(Z7, Z23)
	VPXORQ Z15, Z4, Z4
	MULTIPLY(Z4, Z20)
	REDUCE

sealTail:
	TAIL
	MOREROUNDS(TAGROUND, sealTailLast)

sealTailLast:
	TAILCRYPT
	VMOVDQU8.Z Z0, K1, Z0
	VMOVDQU8.Z Z1, K2, Z1
	VMOVDQU8.Z Z2, K3, Z2
	VMOVDQU8.Z Z3, K4, Z3
	REVERSE(Z0, Z1, Z2, Z3)
	TAG
	RET

// func open(k *keys, nonce *[nonceLen]byte, dst, src *byte, n int, additional *byte, m int, tag *[block]byte)
TEXT ·open(SB), NOSPLIT, $0-64
	BEGIN

openAdditional:
	ADDITIONAL(openAdditional, openEight, openTwelve, openHash, openFirst)

openFirst:
	CMPQ CX, $256
	JLT  openTail
	POWERS

openStep:
	VMOVDQU64 (SI), Z4
	VMOVDQU64 64(SI), Z5
	VMOVDQU64 128(SI), Z6
	VMOVDQU64 192(SI), Z7
	REVERSE(Z4, Z5, Z6, Z7)
	COUNTERS
	FIRSTROUNDSANDHASH
	MOREROUNDS(ROUND, openStepLast)

openStepLast:
	CRYPT
	CMPQ CX, $256
	JGE  openStep

openTail:
	TAIL
	REVERSE(Z24, Z25, Z26, Z27)
	MOREROUNDS(TAGROUND, openTailLast)

openTailLast:
	TAILCRYPT
	TAG
	RET

// func derive(k *keys)
//
// H is the block of zeros, encrypted (SP 800-38D section 7.1).
TEXT ·derive(SB), NOSPLIT, $0-8
	MOVQ k+0(FP), AX
	MOVQ 512(AX), BX
	CONSTANTS
	VMOVDQU KEYS(AX), X0
	LEAQ KEYS(AX), DX

deriveRound:
	ADDQ $16, DX
	DECQ BX
	JZ   deriveLast
	VAESENC (DX), X0, X0
	JMP  deriveRound

deriveLast:
	VAESENCLAST (DX), X0, X0
	VPSHUFB X18, X0, X0

	// Times x: all bits one to the left, and the polynomial where one falls out.
	VPSHUFD $0xff, X0, X1
	VPSRAD  $31, X1, X1
	VPAND   polynomial<>(SB), X1, X1
	VPSRLQ  $63, X0, X2
	VPSLLDQ $8, X2, X2
	VPADDQ  X0, X0, X0
	VPXOR   X2, X0, X0
	VPXOR   X1, X0, X5
	VMOVDQA X5, X15
	LEAQ    H1(AX), DX

derivePower:
	VMOVDQU X15, (DX)
	CMPQ DX, AX
	JEQ  deriveDone
	SUBQ $16, DX
	VMOVDQA X15, X4
	MULTIPLY0(Z4, Z5)
	REDUCE
	JMP  derivePower

deriveDone:
	VZEROUPPER
	RET
