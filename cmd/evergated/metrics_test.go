package main

import "testing"

func TestMetricsFollowTheRules(t *testing.T) {
	if err := new(daemon).registry().Err(); err != nil {
		t.Errorf("the names or labels of metrics are wrong:\n%v", err)
	}
}
