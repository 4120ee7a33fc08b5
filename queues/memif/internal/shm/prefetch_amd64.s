#include "textflag.h"

// func prefetch(at **byte, n int)
TEXT ·prefetch(SB), NOSPLIT, $0-16
	MOVQ at+0(FP), SI
	MOVQ n+8(FP), CX
next:
	TESTQ CX, CX
	JLE   done
	MOVQ  (SI), AX
	BYTE  $0x0F; BYTE $0x0D; BYTE $0x08 // PREFETCHW (AX)
	ADDQ  $8, SI
	DECQ  CX
	JMP   next
done:
	RET
