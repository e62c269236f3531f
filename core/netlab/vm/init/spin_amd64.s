#include "textflag.h"

#define NOP10 \
	BYTE $0x90; BYTE $0x90; BYTE $0x90; BYTE $0x90; BYTE $0x90; \
	BYTE $0x90; BYTE $0x90; BYTE $0x90; BYTE $0x90; BYTE $0x90

// func spin()
TEXT ·spin(SB), NOSPLIT, $0-0
round:
	NOP10; NOP10; NOP10; NOP10; NOP10
	NOP10; NOP10; NOP10; NOP10; NOP10
	JMP round
