package bep

import (
	"time"

	"k6x/event/bep/pb"
)

// metrics are the figures of an invocation.
type metrics struct {
	actions             []*pb.BuildMetrics_ActionSummary_ActionData
	analysis, execution time.Duration
	packages, fetches   int64
	binaries, kept      int32 // kept: that were there
	requests            int   // that waited for a build of a service
	bytes               int64 // of binaries
}

// action counts an action.
func (m *metrics) action(s step) {
	begun, ended := s.begun.UnixMilli(), s.ended.UnixMilli()
	for _, a := range m.actions {
		if a.Mnemonic == s.name {
			a.ActionsExecuted++
			a.FirstStartedMs, a.LastEndedMs = min(a.FirstStartedMs, begun), max(a.LastEndedMs, ended)
			return
		}
	}
	m.actions = append(m.actions, &pb.BuildMetrics_ActionSummary_ActionData{
		Mnemonic: s.name, ActionsExecuted: 1, FirstStartedMs: begun, LastEndedMs: ended})
}

func (m *metrics) event(targets int, wall time.Duration) *pb.BuildMetrics {
	summary := &pb.BuildMetrics_ActionSummary{ActionData: m.actions}
	for _, a := range m.actions {
		summary.ActionsExecuted += a.ActionsExecuted
	}
	for _, c := range []*pb.BuildMetrics_ActionSummary_RunnerCount{
		{Name: "total", Count: int32(summary.ActionsExecuted)},
		{Name: "store hit", Count: m.kept},
		{Name: "download", Count: int32(m.fetches)},
		{Name: "request", Count: int32(m.requests)},
	} {
		if c.Count > 0 {
			summary.RunnerCount = append(summary.RunnerCount, c)
		}
	}
	return &pb.BuildMetrics{
		ActionSummary:  summary,
		TargetMetrics:  &pb.BuildMetrics_TargetMetrics{TargetsLoaded: int64(targets), TargetsConfigured: int64(targets)},
		PackageMetrics: &pb.BuildMetrics_PackageMetrics{PackagesLoaded: m.packages},
		TimingMetrics: &pb.BuildMetrics_TimingMetrics{
			WallTimeInMs: wall.Milliseconds(), AnalysisPhaseTimeInMs: m.analysis.Milliseconds(), ExecutionPhaseTimeInMs: m.execution.Milliseconds()},
		ArtifactMetrics: &pb.BuildMetrics_ArtifactMetrics{
			TopLevelArtifacts: &pb.BuildMetrics_ArtifactMetrics_FilesMetric{SizeInBytes: m.bytes, Count: m.binaries}},
	}
}
