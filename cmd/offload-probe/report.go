package main

import (
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/evergate/evergate/offload"
	"github.com/evergate/evergate/offload/offloadtest"
	"github.com/evergate/evergate/offload/pluginrpc"
)

// writeResult writes one clause as people read it.
func writeResult(w io.Writer, r offloadtest.Result, verbose bool) {
	switch r.Outcome {
	case offloadtest.Failed:
		fmt.Fprintf(w, "FAILED         %-20s %s\n", r.ID, r.Text)
	case offloadtest.NotExercised:
		fmt.Fprintf(w, "not exercised  %-20s", r.ID)
		for _, why := range r.Notes {
			fmt.Fprintf(w, " %s", why)
		}
		fmt.Fprintln(w)
		return
	case offloadtest.Passed:
		if verbose {
			fmt.Fprintf(w, "passed         %-20s %v\n", r.ID, r.Elapsed.Round(time.Millisecond))
		}
	}
	for _, note := range r.Notes {
		fmt.Fprintf(w, "               %s\n", note)
	}
}

// writeSummary ends the report; unchecked is how many clauses an interrupted run
// did not come to.
func writeSummary(w io.Writer, r offloadtest.Report, unchecked int) {
	failed := r.Count(offloadtest.Failed)
	fmt.Fprintf(w, "%s %s, contract %s: %d clauses passed, %d failed, %d not exercised\n", r.Info.Name, r.Info.Version, contract(r.Info),
		r.Count(offloadtest.Passed), failed, r.Count(offloadtest.NotExercised))
	for _, res := range r.Results {
		if res.Outcome == offloadtest.Failed {
			fmt.Fprintf(w, "  broken: %s\n", res.ID)
		}
	}
	if unchecked > 0 {
		fmt.Fprintf(w, "  interrupted: %d clauses were not checked\n", unchecked)
	}
}

// jsonReport is the report for programs. Its names are stable.
type jsonReport struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	// Contract is the version that the plugin was built against.
	Contract     string `json:"contract"`
	Passed       int    `json:"passed"`
	Failed       int    `json:"failed"`
	NotExercised int    `json:"not_exercised"`
	// Unchecked is how many clauses an interrupted run did not come to.
	Unchecked int                  `json:"unchecked"`
	Clauses   []offloadtest.Result `json:"clauses"`
}

func reportOf(r offloadtest.Report, unchecked int) jsonReport {
	return jsonReport{
		Name: r.Info.Name, Version: r.Info.Version, Contract: contract(r.Info),
		Passed: r.Count(offloadtest.Passed), Failed: r.Count(offloadtest.Failed), NotExercised: r.Count(offloadtest.NotExercised),
		Unchecked: unchecked, Clauses: r.Results,
	}
}

// contract is the version that a plugin speaks: it would not have started with
// another major one.
func contract(info offload.Info) string {
	return fmt.Sprintf("%d.%d", pluginrpc.ProtocolVersion, info.ContractMinor)
}

// jsonLoad is what the load test measured, for programs. Its names are stable.
type jsonLoad struct {
	Name     string              `json:"name"`
	Version  string              `json:"version"`
	Contract string              `json:"contract"`
	Phases   []offloadtest.Phase `json:"phases"`
}

// writeLoad writes what the load test measured as people read it.
func writeLoad(w io.Writer, info offload.Info, phases []offloadtest.Phase) {
	fmt.Fprintf(w, "%s %s, contract %s\n\n", info.Name, info.Version, contract(info))
	fmt.Fprintf(w, "%-8s %9s %8s %12s %10s %10s %10s %10s\n", "call", "SAs", "calls", "SAs/s", "p50", "p90", "p99", "max")
	for _, p := range phases {
		l := p.Latency
		fmt.Fprintf(w, "%-8s %9d %8d %12.0f %10s %10s %10s %10s\n", p.Call, p.SAs, p.Calls, p.Rate,
			short(l.P50), short(l.P90), short(l.P99), short(l.Max))
	}
}

// short rounds to what fits in a column.
func short(d time.Duration) string {
	switch {
	case d < time.Millisecond:
		return d.Round(100 * time.Nanosecond).String()
	case d < time.Second:
		return d.Round(10 * time.Microsecond).String()
	default:
		return d.Round(time.Millisecond).String()
	}
}

func writeJSON(w io.Writer, report any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	if err := e.Encode(report); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	return nil
}
