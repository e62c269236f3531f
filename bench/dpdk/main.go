//go:build dpdk

package main

import (
	"context"
	"flag"
	"fmt"
	"math"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/evergate/evergate/bench/report"
	"github.com/evergate/evergate/core/ipsec"
)

// algorithm is what is measured, by the names that each side has for it.
type algorithm struct {
	name         string
	of           ipsec.Algorithms
	limit        []string // arguments of dpdk-test-crypto-perf
	seals, opens []string // more of them, for one direction
	secgw        string   // what a line of ipsec-secgw's configuration says of it
}

// Figure is what one packet size came to in one direction.
type Figure struct {
	Algorithm string  `json:"algorithm"`
	Direction string  `json:"direction"`
	Octets    int     `json:"octets"`
	Rounds    []Round `json:"rounds"`
}

// Round has packets a second, 0 of what was not measured.
type Round struct {
	Packets float64 `json:"packets_per_second"`
	Limit   float64 `json:"limit_packets_per_second"`
	// FromFile and Gateway got their packets from a capture file: this dataplane and
	// ipsec-secgw. Outbound only, as no file has new sequence numbers each time.
	FromFile float64 `json:"from_file_packets_per_second"`
	Gateway  float64 `json:"ipsec_secgw_packets_per_second"`
}

// The directions that are measured.
const (
	outward = "outbound"
	inward  = "inbound"
)

func algorithms() []algorithm {
	return []algorithm{
		{
			"aes128gcm",
			ipsec.Algorithms{Encryption: ipsec.EncrAESGCM16, KeyBits: 128},
			[]string{
				"--devtype", "crypto_aesni_gcm", "--optype", "aead", "--aead-algo", "aes-gcm",
				"--aead-key-sz", "16", "--aead-iv-sz", "12", "--aead-aad-sz", "8", "--digest-sz", "16",
			},
			[]string{"--aead-op", "encrypt"},
			[]string{"--aead-op", "decrypt"},
			"aead_algo aes-128-gcm aead_key " + hexKey(20),
		},
		{
			"aes128-sha1",
			ipsec.Algorithms{Encryption: ipsec.EncrAESCBC, KeyBits: 128, Integrity: ipsec.AuthHMACSHA1_96},
			[]string{
				"--devtype", "crypto_aesni_mb", "--cipher-algo", "aes-cbc", "--cipher-key-sz", "16", "--cipher-iv-sz", "16",
				"--auth-algo", "sha1-hmac", "--auth-key-sz", "64", "--digest-sz", "12",
			},
			[]string{"--optype", "cipher-then-auth", "--cipher-op", "encrypt", "--auth-op", "generate"},
			[]string{"--optype", "auth-then-cipher", "--cipher-op", "decrypt", "--auth-op", "verify"},
			"cipher_algo aes-128-cbc cipher_key " + hexKey(16) + " auth_algo sha1-hmac auth_key " + hexKey(20),
		},
	}
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "dpdk:", err)
		os.Exit(1) //nolint:gocritic // nothing is left to do
	}
}

func run(ctx context.Context) error {
	rounds := flag.Int("rounds", 7, "how often each size is measured")
	length := flag.Duration("time", 300*time.Millisecond, "how long the dataplane and ipsec-secgw are measured in a round")
	gateway := flag.String("ipsec-secgw", "", "DPDK's own gateway, to be measured too")
	what := flag.String("measure", "limit,memory,file,ipsec-secgw", "what is measured")
	names := flag.String("algorithms", "aes128gcm,aes128-sha1", "which ones")
	directions := flag.String("directions", outward+","+inward, "which way packets go")
	sizes := flag.String("sizes", "64,512,1420,8192", "octets of inner packets")
	cryptodevs := flag.String("cryptodevs", "crypto_aesni_gcm,crypto_aesni_mb", "libraries of ciphers, as in the plugin's settings")
	flag.Parse()
	dir, err := os.MkdirTemp("", "evergate-bench-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }() // the system cleans up what is left
	p, err := newPlayer(dir, *cryptodevs)
	if err != nil {
		return err
	}
	var figures []Figure
	wanted, err := wants(*names, *directions, *sizes)
	if err != nil {
		return err
	}
	for _, w := range wanted {
		f := Figure{Algorithm: w.name, Direction: w.direction, Octets: w.octets}
		for range *rounds {
			r, err := p.round(ctx, w, strings.Split(*what, ","), *gateway, *length)
			if err != nil {
				return fmt.Errorf("%s, %s, %d octets: %w", w.name, w.direction, w.octets, err)
			}
			f.Rounds = append(f.Rounds, r)
			fmt.Fprintf(os.Stderr, "%s, %s, %d octets: %.2f Gbit/s of %.2f\n", f.Algorithm, f.Direction, f.Octets, f.bits(r.Packets), f.bits(r.Limit))
		}
		figures = append(figures, f)
	}
	return show(figures, *rounds, *length)
}

// want is what a figure is of.
type want struct {
	algorithm
	direction string
	octets    int
}

// wants reads lists of algorithms, directions and sizes.
func wants(names, directions, sizes string) ([]want, error) {
	var out []want
	for _, a := range algorithms() {
		if !slices.Contains(strings.Split(names, ","), a.name) {
			continue
		}
		for direction := range strings.SplitSeq(directions, ",") {
			for size := range strings.SplitSeq(sizes, ",") {
				octets, err := strconv.Atoi(size)
				if err != nil || octets < 64 || octets > 9000 {
					return nil, fmt.Errorf("sizes: %q is no size of a packet", size)
				}
				out = append(out, want{a, direction, octets})
			}
		}
	}
	return out, nil
}

// measurement is one of the things that are measured in a round, and its place there.
type measurement struct {
	name string
	rate *float64
	once func() (float64, error)
}

// measurements are those of a direction.
func (p *player) measurements(ctx context.Context, w want, r *Round, gateway string, length time.Duration) ([]measurement, error) {
	switch w.direction {
	case outward:
		return []measurement{
			{"limit", &r.Limit, func() (float64, error) { return p.limit(ctx, slices.Concat(w.limit, w.seals), w.octets) }},
			{"memory", &r.Packets, func() (float64, error) { return p.measure(ctx, fromNull, w.of, w.octets, length) }},
			{"file", &r.FromFile, func() (float64, error) { return p.measure(ctx, fromFile, w.of, w.octets, length) }},
			{"ipsec-secgw", &r.Gateway, func() (float64, error) { return p.secgw(ctx, gateway, w.algorithm, w.octets, length) }},
		}, nil
	case inward:
		return []measurement{
			{"limit", &r.Limit, func() (float64, error) { return p.limit(ctx, slices.Concat(w.limit, w.opens), w.octets) }},
			{"memory", &r.Packets, func() (float64, error) { return p.inbound(ctx, w.of, w.octets, length) }},
		}, nil
	default:
		return nil, fmt.Errorf("directions: %q is neither %s nor %s", w.direction, outward, inward)
	}
}

// round measures everything that is asked for once, one right after the other, as the
// processor's clock goes up and down.
func (p *player) round(ctx context.Context, w want, what []string, gateway string, length time.Duration) (Round, error) {
	var r Round
	measurements, err := p.measurements(ctx, w, &r, gateway, length)
	if err != nil {
		return r, err
	}
	for _, m := range measurements {
		if !slices.Contains(what, m.name) {
			continue
		}
		if *m.rate, err = m.once(); err != nil {
			return r, err
		}
	}
	return r, nil
}

// span is that of a figure over the rounds, of those that have it.
func (f Figure) span(value func(Round) float64) report.Span {
	var vs []float64
	for _, r := range f.Rounds {
		if v := value(r); v > 0 && !math.IsInf(v, 0) {
			vs = append(vs, v)
		}
	}
	return report.SpanOf(vs)
}

// rate is what a table shows of a rate of packets: the median, in Gbit/s.
func (f Figure) rate(value func(Round) float64) string {
	s := f.span(value)
	if s.Median == 0 {
		return "-"
	}
	return fmt.Sprintf("%.1f", f.bits(s.Median))
}

// ratio is what it shows of a ratio of two rates of one round.
func (f Figure) ratio(value func(Round) float64) string {
	s := f.span(value)
	if s.Median == 0 {
		return "-"
	}
	return s.String()
}

// bits is a rate of packets in Gbit/s of what they carry.
func (f Figure) bits(packets float64) float64 { return packets * float64(f.Octets) * 8 / 1e9 }

// show writes the tables and the line of JSON.
func show(figures []Figure, rounds int, length time.Duration) error {
	r := report.Report{
		Title: "One worker of the DPDK dataplane, tunnel mode",
		Conditions: []string{
			fmt.Sprintf("%s, %d processors, load %s", runtime.GOARCH, runtime.NumCPU(), load()),
			fmt.Sprintf("%d rounds of %v: medians, of ratios those of each round with the least and the greatest; by processor time of the worker; the limit is dpdk-test-crypto-perf's", rounds, length),
		},
		Result: map[string]any{"benchmark": "dpdk", "load": load(), "figures": figures},
	}
	out := report.Table{Header: []string{outward, "octets", "Mpps", "Gbit/s", "limit", "of the limit", "from a file", "ipsec-secgw", "to ipsec-secgw"}}
	in := report.Table{Header: []string{inward, "octets", "Mpps", "Gbit/s", "limit", "of the limit"}}
	packets, limit := func(r Round) float64 { return r.Packets }, func(r Round) float64 { return r.Limit }
	for _, f := range figures {
		cells := []any{
			f.Algorithm, f.Octets, fmt.Sprintf("%.2f", f.span(packets).Median/1e6), f.rate(packets), f.rate(limit),
			f.ratio(func(r Round) float64 { return r.Packets / r.Limit }),
		}
		if f.Direction == inward {
			in.Add(cells...)
			continue
		}
		out.Add(append(cells, f.rate(func(r Round) float64 { return r.FromFile }), f.rate(func(r Round) float64 { return r.Gateway }),
			f.ratio(func(r Round) float64 { return r.FromFile / r.Gateway }))...)
	}
	for _, t := range []report.Table{out, in} {
		if len(t.Rows) > 0 {
			r.Tables = append(r.Tables, t)
		}
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
