package main

import (
	"bytes"
	"fmt"
	"math"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/golang/snappy"
	"github.com/prometheus/compliance/remotewrite/sender"
	"github.com/prometheus/prometheus/model/value"
	writev1 "github.com/prometheus/prometheus/prompb"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"
	"github.com/stretchr/testify/require"
)

// traffic is a series that is there only if the agent saw what the test had asked for.
const traffic = "http_server_request_duration_seconds"

var (
	metricName = regexp.MustCompile(`^[a-zA-Z_:][a-zA-Z0-9_:]*$`)
	labelName  = regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_]*$`)
	userAgent  = regexp.MustCompile(`^redtap/\d+\.\d+\.\d+$`)
)

type label struct{ name, value string }

func must(name, description string, validate sender.ValidateFunc) sender.ValidateCase {
	return sender.ValidateCase{Name: name, Description: description, RFCLevel: sender.MustLevel, Validate: validate}
}

func should(name, description string, validate sender.ValidateFunc) sender.ValidateCase {
	return sender.ValidateCase{Name: name, Description: description, RFCLevel: sender.ShouldLevel, Validate: validate}
}

// headers are those of all requests.
func headers(version, content string) sender.ValidateCase {
	return must("headers", "POST with the reserved headers, block format of snappy", func(t *testing.T, res sender.ReceiverResult) {
		require.NotEmpty(t, res.Requests)
		for _, one := range res.Requests {
			require.NoError(t, one.Err)
			require.Equal(t, "POST", one.Method)
			for name, wanted := range map[string]string{
				"Content-Encoding": "snappy", "Content-Type": content, "X-Prometheus-Remote-Write-Version": version,
			} {
				require.Equal(t, []string{wanted}, one.Headers.Values(name))
			}
			require.Regexp(t, userAgent, one.Headers.Get("User-Agent"))
			require.False(t, bytes.HasPrefix(one.Body, []byte("\xff\x06\x00\x00sNaPpY")), "framed")
		}
	})
}

// rulesOfLabels hold for both versions.
func rulesOfLabels(t *testing.T, labels []label) {
	require.NotEmpty(t, labels)
	name := ""
	for at, one := range labels {
		require.NotEmpty(t, one.name)
		require.NotEmpty(t, one.value, one.name)
		require.True(t, utf8.ValidString(one.name) && utf8.ValidString(one.value), one)
		require.True(t, labelName.MatchString(one.name), one.name)
		require.True(t, one.name == "__name__" || !strings.HasPrefix(one.name, "__"), one.name)
		if at > 0 {
			require.Less(t, labels[at-1].name, one.name, "in order, and each once")
		}
		if one.name == "__name__" {
			name = one.value
		}
	}
	require.True(t, metricName.MatchString(name), name)
}

// inOrder holds each series' times against those of all requests before; with what it was called.
type inOrder map[string]int64

func (o inOrder) add(t *testing.T, labels []label, timestamp int64) {
	key := fmt.Sprint(labels)
	before, known := o[key]
	require.True(t, !known || before < timestamp, "%v: %v after %v", key, timestamp, before)
	o[key] = timestamp
	// Milliseconds, and of now.
	require.InDelta(t, time.Now().UnixMilli(), timestamp, 10*60*1000)
}

func labelsOf(t *testing.T, request *writev2.Request, refs []uint32) []label {
	require.Zero(t, len(refs)%2)
	var labels []label
	for at := 0; at < len(refs); at += 2 {
		require.Less(t, int(refs[at]), len(request.Symbols))
		require.Less(t, int(refs[at+1]), len(request.Symbols))
		labels = append(labels, label{request.Symbols[refs[at]], request.Symbols[refs[at+1]]})
	}
	return labels
}

func value0(labels []label, name string) string {
	for _, one := range labels {
		if one.name == name {
			return one.value
		}
	}
	return ""
}

// each goes through all series of all requests of 2.0.
func each(t *testing.T, res sender.ReceiverResult, look func(request *writev2.Request, series writev2.TimeSeries, labels []label)) {
	seen := false
	for _, one := range res.Requests {
		require.NotNil(t, one.RW2)
		for _, series := range one.RW2.Timeseries {
			labels := labelsOf(t, one.RW2, series.LabelsRefs)
			seen = seen || strings.HasPrefix(value0(labels, "__name__"), traffic)
			look(one.RW2, series, labels)
		}
	}
	require.True(t, seen, "no traffic: this shows nothing")
}

func rulesOf2() []sender.ValidateCase {
	return []sender.ValidateCase{
		headers("2.0.0", "application/x-protobuf;proto=io.prometheus.write.v2.Request"),
		must("symbols", "The first is empty, each is there once", func(t *testing.T, res sender.ReceiverResult) {
			for _, one := range res.Requests {
				require.NotEmpty(t, one.RW2.Symbols)
				require.Empty(t, one.RW2.Symbols[0])
				known := map[string]bool{}
				for _, symbol := range one.RW2.Symbols {
					require.False(t, known[symbol], "twice: %q", symbol)
					known[symbol] = true
				}
			}
		}),
		must("labels", "In order, each once, none empty, all of UTF-8, with valid names", func(t *testing.T, res sender.ReceiverResult) {
			each(t, res, func(_ *writev2.Request, _ writev2.TimeSeries, labels []label) { rulesOfLabels(t, labels) })
		}),
		must("samples", "A series has samples or histograms, not both; each series in order of time", func(t *testing.T, res sender.ReceiverResult) {
			order := inOrder{}
			each(t, res, func(_ *writev2.Request, series writev2.TimeSeries, labels []label) {
				require.Empty(t, series.Histograms, "classic series were asked for")
				require.NotEmpty(t, series.Samples)
				for _, sample := range series.Samples {
					order.add(t, labels, sample.Timestamp)
					require.False(t, value.IsStaleNaN(sample.Value), "no series ended: %v", labels)
					require.False(t, math.IsNaN(sample.Value), labels)
				}
			})
		}),
		should("start_timestamp", "Counters and histograms say when they began", func(t *testing.T, res sender.ReceiverResult) {
			each(t, res, func(_ *writev2.Request, series writev2.TimeSeries, labels []label) {
				if series.Metadata.Type == writev2.Metadata_METRIC_TYPE_GAUGE {
					return
				}
				for _, sample := range series.Samples {
					require.NotZero(t, sample.StartTimestamp, labels)
					require.LessOrEqual(t, sample.StartTimestamp, sample.Timestamp, labels)
				}
			})
		}),
		should("metadata", "Type and help of every series", func(t *testing.T, res sender.ReceiverResult) {
			each(t, res, func(request *writev2.Request, series writev2.TimeSeries, labels []label) {
				require.NotEqual(t, writev2.Metadata_METRIC_TYPE_UNSPECIFIED, series.Metadata.Type, labels)
				require.Less(t, int(series.Metadata.HelpRef), len(request.Symbols))
				require.Less(t, int(series.Metadata.UnitRef), len(request.Symbols))
				require.NotEmpty(t, request.Symbols[series.Metadata.HelpRef], labels)
				name := value0(labels, "__name__")
				if strings.HasPrefix(name, traffic) {
					require.Equal(t, writev2.Metadata_METRIC_TYPE_HISTOGRAM, series.Metadata.Type)
					require.Equal(t, "seconds", request.Symbols[series.Metadata.UnitRef])
				}
				if strings.HasPrefix(name, "redtap_") && strings.HasSuffix(name, "_total") {
					require.Equal(t, writev2.Metadata_METRIC_TYPE_COUNTER, series.Metadata.Type, name)
				}
			})
		}),
		should("job_and_instance", "Every series names the job and the instance", func(t *testing.T, res sender.ReceiverResult) {
			each(t, res, func(_ *writev2.Request, _ writev2.TimeSeries, labels []label) {
				require.NotEmpty(t, value0(labels, "job"))
				require.NotEmpty(t, value0(labels, "instance"))
			})
		}),
		should("exemplars", "With value, time and trace_id, in order of time", func(t *testing.T, res sender.ReceiverResult) {
			order, count := inOrder{}, 0
			each(t, res, func(request *writev2.Request, series writev2.TimeSeries, labels []label) {
				for _, one := range series.Exemplars {
					count++
					order.add(t, labels, one.Timestamp)
					require.Positive(t, one.Value)
					require.Len(t, value0(labelsOf(t, request, one.LabelsRefs), "trace_id"), 32)
				}
			})
			require.Positive(t, count, "no exemplar: this shows nothing")
		}),
		should("batches", "Many series in one request", func(t *testing.T, res sender.ReceiverResult) {
			require.Greater(t, len(res.Requests[len(res.Requests)-1].RW2.Timeseries), 50)
		}),
	}
}

func rulesOf1() []sender.ValidateCase {
	return []sender.ValidateCase{
		headers("0.1.0", "application/x-protobuf"),
		must("series", "Labels and order of 1.0", func(t *testing.T, res sender.ReceiverResult) {
			order, seen := inOrder{}, false
			for _, one := range res.Requests {
				require.NotNil(t, one.RW1)
				for _, series := range one.RW1.Timeseries {
					var labels []label
					for _, one := range series.Labels {
						labels = append(labels, label{one.Name, one.Value})
					}
					rulesOfLabels(t, labels)
					require.Empty(t, series.Histograms)
					require.NotEmpty(t, series.Samples)
					for _, sample := range series.Samples {
						order.add(t, labels, sample.Timestamp)
						require.False(t, value.IsStaleNaN(sample.Value), "no series ended: %v", labels)
					}
					seen = seen || strings.HasPrefix(value0(labels, "__name__"), traffic)
				}
			}
			require.True(t, seen, "no traffic: this shows nothing")
		}),
		should("metadata", "Type and help of every family", func(t *testing.T, res sender.ReceiverResult) {
			for _, one := range res.Requests {
				require.NotEmpty(t, one.RW1.Metadata)
				for _, family := range one.RW1.Metadata {
					require.NotEqual(t, writev1.MetricMetadata_UNKNOWN, family.Type, family.MetricFamilyName)
					require.NotEmpty(t, family.Help, family.MetricFamilyName)
				}
			}
		}),
	}
}

func rulesOfHistograms() []sender.ValidateCase {
	return []sender.ValidateCase{
		must("histograms", "What Prometheus takes for a valid histogram, in order of time, and no samples besides", func(t *testing.T, res sender.ReceiverResult) {
			order, count := inOrder{}, 0
			each(t, res, func(_ *writev2.Request, series writev2.TimeSeries, labels []label) {
				require.True(t, (len(series.Samples) == 0) != (len(series.Histograms) == 0), labels)
				rulesOfLabels(t, labels)
				for _, one := range series.Histograms {
					count++
					order.add(t, labels, one.Timestamp)
					require.False(t, one.IsFloatHistogram())
					require.NoError(t, one.ToIntHistogram().Validate(), labels)
					require.NotZero(t, one.StartTimestamp)
					require.Empty(t, value0(labels, "le"))
				}
			})
			require.Positive(t, count)
		}),
	}
}

func rulesOfRetries() []sender.ValidateCase {
	return []sender.ValidateCase{
		must("again_on_5xx", "5xx: the same again", func(t *testing.T, res sender.ReceiverResult) {
			require.Len(t, res.Requests, 7)
			for at := 1; at <= 3; at++ {
				require.Equal(t, res.Requests[0].Body, res.Requests[at].Body)
			}
		}),
		must("backoff", "Not at once, and not for ever", func(t *testing.T, res sender.ReceiverResult) {
			for at := 1; at <= 3; at++ {
				waited := res.Requests[at].Received.Sub(res.Requests[at-1].Received)
				require.GreaterOrEqual(t, waited, 250*time.Millisecond)
				require.Less(t, waited, 60*time.Second)
			}
		}),
		should("again_on_429", "429: the same again, not before Retry-After", func(t *testing.T, res sender.ReceiverResult) {
			require.Equal(t, res.Requests[3].Body, res.Requests[4].Body)
			require.GreaterOrEqual(t, res.Requests[4].Received.Sub(res.Requests[3].Received), 2*time.Second)
		}),
		must("not_on_2xx", "2xx: not again, whatever the body says", func(t *testing.T, res sender.ReceiverResult) {
			require.NotEqual(t, res.Requests[4].Body, res.Requests[5].Body)
		}),
		must("not_on_4xx", "400: not again, and the next goes out", func(t *testing.T, res sender.ReceiverResult) {
			require.NotEqual(t, res.Requests[5].Body, res.Requests[6].Body)
		}),
	}
}

func rulesOfFallback() []sender.ValidateCase {
	return []sender.ValidateCase{
		should("the_same_as_1_0", "415: the same samples as 1.0, and 1.0 from then on", func(t *testing.T, res sender.ReceiverResult) {
			require.Len(t, res.Requests, 3)
			require.Equal(t, "2.0.0", res.Requests[0].Headers.Get("X-Prometheus-Remote-Write-Version"))
			wanted := map[string]float64{}
			for _, series := range res.Requests[0].RW2.Timeseries {
				for _, sample := range series.Samples {
					wanted[fmt.Sprint(labelsOf(t, res.Requests[0].RW2, series.LabelsRefs), sample.Timestamp)] = sample.Value
				}
			}
			require.NotEmpty(t, wanted)
			for at, one := range res.Requests[1:] {
				require.Equal(t, "0.1.0", one.Headers.Get("X-Prometheus-Remote-Write-Version"))
				require.Equal(t, "application/x-protobuf", one.Headers.Get("Content-Type"))
				plain, err := snappy.Decode(nil, one.Body)
				require.NoError(t, err)
				var older writev1.WriteRequest
				require.NoError(t, older.Unmarshal(plain))
				got := map[string]float64{}
				for _, series := range older.Timeseries {
					var labels []label
					for _, one := range series.Labels {
						labels = append(labels, label{one.Name, one.Value})
					}
					for _, sample := range series.Samples {
						got[fmt.Sprint(labels, sample.Timestamp)] = sample.Value
					}
				}
				if at == 0 {
					require.Equal(t, wanted, got)
				} else {
					require.NotEmpty(t, got)
				}
			}
		}),
	}
}
