// Prometheus's own compliance suite for remote write (github.com/prometheus/compliance) against redtap: the suite's receiver takes
// what the agent sends and decodes it with Prometheus's own types, and the rules are held against all of it.
//
// The suite's own case scrapes a page and looks for that page's series. redtap watches traffic and scrapes nothing, so of that
// case what is not about the page is run as it is; the rules of the suite's cases that wait to be moved to its framework (they are
// skipped there) and of the specifications are in rules_test.go, held against the series of real traffic.
//
// Built by `go test -c`. REDTAP_BIN: the agent. REDTAP_ARGUMENTS: what it is told, of which whom to watch is a part.
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/exp/api/remote"
	"github.com/prometheus/compliance/remotewrite/sender"
)

// redtap is the agent with further lines of its section remote_write.
type redtap struct {
	name  string
	lines string
}

func (r redtap) Name() string { return r.name }

func (r redtap) Run(ctx context.Context, opts sender.Options) error {
	folder, err := os.MkdirTemp("", "redtap-compliance-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(folder)
	lines := r.lines
	if !strings.Contains(lines, "protocol") {
		protocol := "2.0"
		if opts.RemoteWriteMessage == remote.WriteV1MessageType {
			protocol = "1.0"
		}
		lines += fmt.Sprintf("protocol = %q\n", protocol)
	}
	config := fmt.Sprintf("[remote_write]\nurl = \"%s/api/v1/write\"\ninterval = \"1s\"\n%s", opts.RemoteWriteEndpointURL, lines)
	if err := os.WriteFile(filepath.Join(folder, "redtap.toml"), []byte(config), 0o600); err != nil {
		return err
	}
	return sender.RunCommand(ctx, folder, nil, os.Getenv("REDTAP_BIN"), strings.Fields(os.Getenv("REDTAP_ARGUMENTS"))...)
}

// ofThePage are the cases that look for what the scraped page has.
var ofThePage = map[string]bool{
	"value":                          true,
	"start_timestamp for counters":   true,
	"start_timestamp for histograms": true,
}

func TestOfTheSuite(t *testing.T) {
	tests := sender.ComplianceTests()
	left := 0
	for at := range tests {
		var cases []sender.ValidateCase
		for _, one := range tests[at].ValidateCases {
			if !ofThePage[one.Name] {
				cases = append(cases, one)
			}
		}
		tests[at].ValidateCases = cases
		left += len(cases)
	}
	if left == 0 {
		t.Fatal("no case is left: this shows nothing")
	}
	sender.RunTests(t, redtap{name: "redtap"}, tests)
}

// rounds are so many answers that all is written.
func rounds(count int) []sender.ReceiverResponse { return make([]sender.ReceiverResponse, count) }

func TestRules(t *testing.T) {
	sender.RunTests(t, redtap{name: "redtap"}, []sender.Test{
		{
			Name: "requests", Version: remote.WriteV2MessageType, RFCLevel: sender.MustLevel,
			Description: "What is sent keeps to the rules of 2.0", TestResponses: rounds(8), ValidateCases: rulesOf2(),
		},
		{
			Name: "requests", Version: remote.WriteV1MessageType, RFCLevel: sender.MustLevel,
			Description: "What is sent keeps to the rules of 1.0", TestResponses: rounds(8), ValidateCases: rulesOf1(),
		},
		{
			Name: "retries", Version: remote.WriteV2MessageType, RFCLevel: sender.MustLevel,
			Description: "What may work later is sent again, and what will not is not",
			TestResponses: []sender.ReceiverResponse{
				{StatusCode: 500, Body: "no"}, {StatusCode: 503}, {StatusCode: 502},
				{StatusCode: 429, Headers: map[string]string{"Retry-After": "2"}},
				{StatusCode: 200, Body: "to be ignored"}, {StatusCode: 400, Body: "not this"}, {},
			},
			ValidateCases: rulesOfRetries(),
		},
	})
	sender.RunTests(t, redtap{name: "redtap-native", lines: "native_histograms = true\n"}, []sender.Test{{
		Name: "histograms", Version: remote.WriteV2MessageType, RFCLevel: sender.MustLevel,
		Description: "Native histograms keep to the rules of 2.0", TestResponses: rounds(8), ValidateCases: rulesOfHistograms(),
	}})
	sender.RunTests(t, redtap{name: "redtap-auto", lines: "protocol = \"auto\"\n"}, []sender.Test{{
		Name: "fallback", Version: remote.WriteV2MessageType, RFCLevel: sender.ShouldLevel,
		Description:   "A receiver that does not know 2.0 gets the same as 1.0",
		TestResponses: []sender.ReceiverResponse{{StatusCode: 415}, {}, {}}, ValidateCases: rulesOfFallback(),
	}})
}
