package bep

import "k6x/event/bep/pb"

func startedID() *pb.BuildEventId {
	return &pb.BuildEventId{Id: &pb.BuildEventId_Started{Started: &pb.BuildEventId_BuildStartedId{}}}
}

func progressID(number int32) *pb.BuildEventId {
	return &pb.BuildEventId{Id: &pb.BuildEventId_Progress{Progress: &pb.BuildEventId_ProgressId{OpaqueCount: number}}}
}

func argsID() *pb.BuildEventId {
	return &pb.BuildEventId{Id: &pb.BuildEventId_UnstructuredCommandLine{UnstructuredCommandLine: &pb.BuildEventId_UnstructuredCommandLineId{}}}
}

func commandLineID(label string) *pb.BuildEventId {
	return &pb.BuildEventId{Id: &pb.BuildEventId_StructuredCommandLine{
		StructuredCommandLine: &pb.BuildEventId_StructuredCommandLineId{CommandLineLabel: label}}}
}

func optionsID() *pb.BuildEventId {
	return &pb.BuildEventId{Id: &pb.BuildEventId_OptionsParsed{OptionsParsed: &pb.BuildEventId_OptionsParsedId{}}}
}

func statusID() *pb.BuildEventId {
	return &pb.BuildEventId{Id: &pb.BuildEventId_WorkspaceStatus{WorkspaceStatus: &pb.BuildEventId_WorkspaceStatusId{}}}
}

func metadataID() *pb.BuildEventId {
	return &pb.BuildEventId{Id: &pb.BuildEventId_BuildMetadata{BuildMetadata: &pb.BuildEventId_BuildMetadataId{}}}
}

func patternID(pattern []string) *pb.BuildEventId {
	return &pb.BuildEventId{Id: &pb.BuildEventId_Pattern{Pattern: &pb.BuildEventId_PatternExpandedId{Pattern: pattern}}}
}

func configurationID(id string) *pb.BuildEventId {
	return &pb.BuildEventId{Id: &pb.BuildEventId_Configuration{Configuration: &pb.BuildEventId_ConfigurationId{Id: id}}}
}

func configuredID(label string) *pb.BuildEventId {
	return &pb.BuildEventId{Id: &pb.BuildEventId_TargetConfigured{TargetConfigured: &pb.BuildEventId_TargetConfiguredId{Label: label}}}
}

func completedID(label, configuration string) *pb.BuildEventId {
	return &pb.BuildEventId{Id: &pb.BuildEventId_TargetCompleted{TargetCompleted: &pb.BuildEventId_TargetCompletedId{
		Label: label, Configuration: &pb.BuildEventId_ConfigurationId{Id: configuration}}}}
}

func actionID(output, label, configuration string) *pb.BuildEventId {
	return &pb.BuildEventId{Id: &pb.BuildEventId_ActionCompleted{ActionCompleted: &pb.BuildEventId_ActionCompletedId{
		PrimaryOutput: output, Label: label, Configuration: &pb.BuildEventId_ConfigurationId{Id: configuration}}}}
}

func fetchID(url string) *pb.BuildEventId {
	return &pb.BuildEventId{Id: &pb.BuildEventId_Fetch{Fetch: &pb.BuildEventId_FetchId{Url: url, Downloader: pb.BuildEventId_FetchId_HTTP}}}
}

func namedSetID(id string) *pb.BuildEventId {
	return &pb.BuildEventId{Id: &pb.BuildEventId_NamedSet{NamedSet: &pb.BuildEventId_NamedSetOfFilesId{Id: id}}}
}

func finishedID() *pb.BuildEventId {
	return &pb.BuildEventId{Id: &pb.BuildEventId_BuildFinished{BuildFinished: &pb.BuildEventId_BuildFinishedId{}}}
}

func toolLogsID() *pb.BuildEventId {
	return &pb.BuildEventId{Id: &pb.BuildEventId_BuildToolLogs{BuildToolLogs: &pb.BuildEventId_BuildToolLogsId{}}}
}

func metricsID() *pb.BuildEventId {
	return &pb.BuildEventId{Id: &pb.BuildEventId_BuildMetrics{BuildMetrics: &pb.BuildEventId_BuildMetricsId{}}}
}
