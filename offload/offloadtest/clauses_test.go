package offloadtest_test

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/evergate/evergate/offload/offloadtest"
)

// TestClausesStandInTheContract holds the documentation and the suite together.
func TestClausesStandInTheContract(t *testing.T) {
	doc, err := os.ReadFile("../doc.go")
	if err != nil {
		t.Fatalf("The contract cannot be read: %v.", err)
	}
	var named []string
	for _, m := range regexp.MustCompile(`\[([a-z]+\.[a-z., ]+)\]`).FindAllStringSubmatch(string(doc), -1) {
		named = append(named, strings.Split(m[1], ", ")...)
	}
	var checked []string
	for _, c := range offloadtest.Clauses() {
		if slices.Contains(checked, c.ID) {
			t.Errorf("Two clauses are called %s.", c.ID)
		}
		checked = append(checked, c.ID)
		if !slices.Contains(named, c.ID) {
			t.Errorf("The suite checks %s, but the contract does not name it.", c.ID)
		}
		if !strings.HasSuffix(c.Text, ".") {
			t.Errorf("The text of %s is no sentence: %q.", c.ID, c.Text)
		}
	}
	for _, id := range named {
		if !slices.Contains(checked, id) {
			t.Errorf("The contract names %s, but the suite does not check it.", id)
		}
	}
}

func TestSelectNamesClausesAndGroupsOfThem(t *testing.T) {
	all, err := offloadtest.Select()
	if err != nil || len(all) != len(offloadtest.Clauses()) {
		t.Errorf("Without names, all clauses should be selected, got %d (%v).", len(all), err)
	}
	some, err := offloadtest.Select("epoch", "install.role")
	if err != nil || len(some) != 5 {
		t.Errorf("The clauses of epoch and install.role are five, got %d (%v).", len(some), err)
	}
	if _, err := offloadtest.Select("epoch", "epo"); err == nil || !strings.Contains(err.Error(), `"epo"`) {
		t.Errorf("A name that is no clause should be named in the error, got %v.", err)
	}
}
