//go:build dpdk

package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"time"

	"github.com/evergate/evergate/bench/report"
	"github.com/evergate/evergate/core/ipsec"
)

// algorithm is what is measured, by the names that each side has for it.
type algorithm struct {
	name  string
	of    ipsec.Algorithms
	limit []string // arguments of dpdk-test-crypto-perf
}

// Figure is what one packet size came to.
type Figure struct {
	Algorithm string  `json:"algorithm"`
	Octets    int     `json:"octets"`
	Packets   float64 `json:"packets_per_second"`
	Bits      float64 `json:"bits_per_second"`
	Limit     float64 `json:"limit_bits_per_second"`
}

func algorithms() []algorithm {
	return []algorithm{
		{"aes128gcm", ipsec.Algorithms{Encryption: ipsec.EncrAESGCM16, KeyBits: 128}, []string{
			"--devtype", "crypto_aesni_gcm", "--optype", "aead", "--aead-algo", "aes-gcm", "--aead-op", "encrypt",
			"--aead-key-sz", "16", "--aead-iv-sz", "12", "--aead-aad-sz", "8", "--digest-sz", "16",
		}},
		{"aes128-sha1", ipsec.Algorithms{Encryption: ipsec.EncrAESCBC, KeyBits: 128, Integrity: ipsec.AuthHMACSHA1_96}, []string{
			"--devtype", "crypto_aesni_mb", "--optype", "cipher-then-auth", "--cipher-algo", "aes-cbc", "--cipher-op", "encrypt",
			"--cipher-key-sz", "16", "--cipher-iv-sz", "16", "--auth-algo", "sha1-hmac", "--auth-op", "generate",
			"--auth-key-sz", "64", "--digest-sz", "12",
		}},
	}
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "dpdk:", err)
		os.Exit(1) //nolint:gocritic // nothing is left to do
	}
}

func run(ctx context.Context) error {
	rounds := flag.Int("rounds", 3, "how often each size is measured; the best counts")
	length := flag.Duration("time", time.Second, "how long a round takes")
	flag.Parse()
	dir, err := os.MkdirTemp("", "evergate-bench-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }() // the system cleans up what is left
	p, err := newPlayer(dir)
	if err != nil {
		return err
	}
	var figures []Figure
	for _, a := range algorithms() {
		for _, octets := range []int{64, 512, 1420, 8192} {
			f := Figure{Algorithm: a.name, Octets: octets}
			for range *rounds {
				packets, err := p.measure(ctx, a.of, octets, *length)
				if err != nil {
					return fmt.Errorf("%s, %d octets: %w", a.name, octets, err)
				}
				f.Packets = max(f.Packets, packets)
				bits, err := limit(ctx, a, octets)
				if err != nil {
					return err
				}
				f.Limit = max(f.Limit, bits)
			}
			f.Bits = f.Packets * float64(octets) * 8
			figures = append(figures, f)
			fmt.Fprintf(os.Stderr, "%s, %d octets: %.2f Gbit/s of %.2f\n", f.Algorithm, f.Octets, f.Bits/1e9, f.Limit/1e9)
		}
	}
	return show(figures, *rounds, *length)
}

// show writes the table and the line of JSON.
func show(figures []Figure, rounds int, length time.Duration) error {
	r := report.Report{
		Title: "One worker of the DPDK dataplane, outbound, tunnel mode",
		Conditions: []string{
			fmt.Sprintf("%s, %d processors, load %s", runtime.GOARCH, runtime.NumCPU(), load()),
			fmt.Sprintf("best of %d rounds of %v; by processor time of the worker; the limit is dpdk-test-crypto-perf's", rounds, length),
		},
		Tables: []report.Table{{Header: []string{"", "octets", "Mpps", "Gbit/s", "limit", "of the limit"}}},
		Result: map[string]any{"benchmark": "dpdk", "load": load(), "figures": figures},
	}
	for _, f := range figures {
		r.Tables[0].Add(f.Algorithm, f.Octets, fmt.Sprintf("%.2f", f.Packets/1e6), fmt.Sprintf("%.1f", f.Bits/1e9),
			fmt.Sprintf("%.1f", f.Limit/1e9), fmt.Sprintf("%.0f %%", 100*f.Bits/f.Limit))
	}
	return r.Write(os.Stdout)
}

// load is how much there was to do in the last minute, as the kernel says it.
func load() string {
	b, err := os.ReadFile(filepath.Join("/proc", "loadavg"))
	if err != nil || len(b) < 4 {
		return "unknown"
	}
	return string(b[:4])
}
