package main

import (
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/evergate/evergate/offload/offloadtest"
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

func writeSummary(w io.Writer, r offloadtest.Report) {
	failed := r.Count(offloadtest.Failed)
	fmt.Fprintf(w, "%s %s: %d clauses passed, %d failed, %d not exercised\n", r.Info.Name, r.Info.Version,
		r.Count(offloadtest.Passed), failed, r.Count(offloadtest.NotExercised))
	for _, res := range r.Results {
		if res.Outcome == offloadtest.Failed {
			fmt.Fprintf(w, "  broken: %s\n", res.ID)
		}
	}
}

// jsonReport is the report for programs. Its names are stable.
type jsonReport struct {
	Name         string               `json:"name"`
	Version      string               `json:"version"`
	Passed       int                  `json:"passed"`
	Failed       int                  `json:"failed"`
	NotExercised int                  `json:"not_exercised"`
	Clauses      []offloadtest.Result `json:"clauses"`
}

func writeJSON(w io.Writer, r offloadtest.Report) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	err := e.Encode(jsonReport{
		Name:         r.Info.Name,
		Version:      r.Info.Version,
		Passed:       r.Count(offloadtest.Passed),
		Failed:       r.Count(offloadtest.Failed),
		NotExercised: r.Count(offloadtest.NotExercised),
		Clauses:      r.Results,
	})
	if err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	return nil
}
