// Package bpf holds the steering program of a TAP, compiled. Its source is
// steer.bpf.c beside this file; "make bpf" compiles it anew.
package bpf

//go:generate go tool bpf2go -cc clang -strip llvm-strip -cflags "-O2 -Wall -Wextra -Werror" -target bpfel -go-package bpf Steer steer.bpf.c
