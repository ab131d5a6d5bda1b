package check

import (
	"slices"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
)

func TestComposeStartsWhatNeedsNoRights(t *testing.T) {
	options, err := cli.NewProjectOptions([]string{"../compose.yaml"}, cli.WithEnv([]string{"BUCKET_SECRET=secret"}), cli.WithInterpolation(true))
	if err != nil {
		t.Fatal(err)
	}
	project, err := options.LoadProject(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := project.CheckContainerNameUnicity(); err != nil {
		t.Error(err)
	}
	for name, s := range project.Services {
		if !s.ReadOnly || !slices.Contains(s.CapDrop, "ALL") {
			t.Errorf("%s may do more than it has to", name)
		}
	}
	for name, s := range project.Services {
		_, front := s.Networks["front"]
		if front != (name == "service" || name == "caddy") {
			t.Errorf("%s: on the network that is trusted to tell addresses: %v", name, front)
		}
	}
	if got := len(project.Services["service"].DependsOn); got == 0 {
		t.Error("the service does not wait for its bucket")
	}
	for _, name := range []string{"worker-1", "worker-2", "worker-3"} {
		if _, ok := project.Services[name].DependsOn["service"]; !ok {
			t.Errorf("%s does not wait for the service", name)
		}
	}
}
