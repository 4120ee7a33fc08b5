// Package bpf holds the program that steers a NIC's frames, as C source, as
// the object that clang makes of it, and as the Go types that bpf2go reads out
// of that. Package xdp loads it; nobody else needs this package.
package bpf

//go:generate go tool bpf2go -cc clang -strip llvm-strip -cflags "-O2 -Wall -Wextra -Werror" -target bpfel -go-package bpf Steer steer.bpf.c
