// Package kstatus asks the library that other tools wait with whether it reads
// our objects as we mean them: it knows nothing of our kinds, only the conventions.
//
// Give -count=1: go test keeps its answer, and does not look again at files
// outside this module.
package kstatus

import (
	"os"
	"path/filepath"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"
)

const statesVariable = "MOORING_TEST_STATES"

// Each status has a folder of its name; an object is rarely caught while it goes.
var mayBeAbsent = map[status.Status]bool{
	status.CurrentStatus:     false,
	status.InProgressStatus:  false,
	status.FailedStatus:      false,
	status.TerminatingStatus: true,
}

func TestEveryStateIsReadAsMeant(t *testing.T) {
	states := os.Getenv(statesVariable)
	if states == "" {
		t.Fatalf("%s is not set: give the folder that holds Current, InProgress, Failed and Terminating", statesVariable)
	}
	refuseUnknownEntries(t, states)
	for want, optional := range mayBeAbsent {
		t.Run(want.String(), func(t *testing.T) {
			checkFolder(t, filepath.Join(states, want.String()), want, optional)
		})
	}
}

// A folder with a misspelt name would be passed over in silence.
func refuseUnknownEntries(t *testing.T, states string) {
	t.Helper()
	entries, err := os.ReadDir(states)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if _, known := mayBeAbsent[status.Status(entry.Name())]; !known {
			t.Errorf("%s is none of the folders Current, InProgress, Failed and Terminating", filepath.Join(states, entry.Name()))
		}
	}
}

func checkFolder(t *testing.T, folder string, want status.Status, optional bool) {
	t.Helper()
	files, err := os.ReadDir(folder)
	if os.IsNotExist(err) && optional {
		t.Skip("no object was caught in this state")
	}
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 && !optional {
		t.Fatalf("%s is empty", folder)
	}
	for _, file := range files {
		t.Run(file.Name(), func(t *testing.T) {
			checkObject(t, filepath.Join(folder, file.Name()), want)
		})
	}
}

func checkObject(t *testing.T, path string, want status.Status) {
	t.Helper()
	object := readObject(t, path)
	result, err := status.Compute(object)
	if err != nil {
		t.Fatalf("%s %s: %v", object.GetKind(), object.GetName(), err)
	}
	if result.Status != want {
		t.Errorf("%s %s is %s (%q), not %s; its status: %v", object.GetKind(), object.GetName(),
			result.Status, result.Message, want, object.Object["status"])
	}
}

func readObject(t *testing.T, path string) *unstructured.Unstructured {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	object := &unstructured.Unstructured{}
	if err := object.UnmarshalJSON(text); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	// What has no status at all counts as Current, a list or half an object too.
	if object.IsList() || object.GetName() == "" || object.GetGeneration() == 0 {
		t.Fatalf("%s holds no object as read from the API server: its name or generation is missing", path)
	}
	return object
}
