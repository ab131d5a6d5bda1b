package check

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
)

func TestPodsNeedNoRightsAndHaveBounds(t *testing.T) {
	rules, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"one-node", "replicas", "job"} {
		for name, p := range build(t, dir).pods {
			for _, result := range rules.EvaluatePod(api.LevelVersion{Level: api.LevelRestricted, Version: api.LatestVersion()}, &p.ObjectMeta, &p.Spec) {
				if !result.Allowed {
					t.Errorf("%s/%s: %s: %s", dir, name, result.ForbiddenReason, result.ForbiddenDetail)
				}
			}
			if mounted := p.Spec.AutomountServiceAccountToken; mounted == nil || *mounted {
				t.Errorf("%s/%s has a token of the cluster", dir, name)
			}
			for _, c := range p.Spec.Containers {
				if only := c.SecurityContext.ReadOnlyRootFilesystem; only == nil || !*only {
					t.Errorf("%s/%s writes to its root", dir, name)
				}
				requests, limits := c.Resources.Requests, c.Resources.Limits
				if requests.Cpu().IsZero() || limits.Memory().IsZero() || !requests.Memory().Equal(*limits.Memory()) {
					t.Errorf("%s/%s has the resources %v", dir, name, c.Resources)
				}
				if len(c.Ports) > 0 && (c.StartupProbe == nil || c.LivenessProbe == nil || c.ReadinessProbe == nil) {
					t.Errorf("%s/%s has ports, and lacks probes", dir, name)
				}
			}
		}
	}
}

// What one object says of another one is so.
func TestObjectsFindEachOther(t *testing.T) {
	for dir, scaled := range map[string]string{"one-node": "", "replicas": "replicas/autoscaler.yaml", "job": ""} {
		t.Run(dir, func(t *testing.T) {
			c := build(t, dir)
			if scaled != "" { // which is left to the user
				text, err := os.ReadFile(filepath.Join(kubernetes, scaled))
				if err != nil {
					t.Fatal(err)
				}
				c.add(t, text)
			}
			for name, p := range c.pods {
				for _, container := range p.Spec.Containers {
					checkContainer(t, c, name, p, &container)
				}
			}
			for _, s := range c.services {
				for _, port := range s.Spec.Ports {
					if !c.listens(t, metav1.SetAsLabelSelector(s.Spec.Selector), port.TargetPort) {
						t.Errorf("nothing listens for the service %s on %v", s.Name, port.TargetPort)
					}
				}
			}
			for _, b := range c.budgets {
				if !c.any(t, b.Spec.Selector) {
					t.Errorf("the budget %s is for nothing", b.Name)
				}
			}
			for _, h := range c.scalers {
				if c.pods[h.Spec.ScaleTargetRef.Name] == nil {
					t.Errorf("%s scales nothing", h.Name)
				}
			}
			for _, n := range c.policies {
				if !c.any(t, &n.Spec.PodSelector) {
					t.Errorf("the policy %s is for nothing", n.Name)
				}
				for _, in := range n.Spec.Ingress {
					for _, port := range in.Ports {
						if !c.listens(t, &n.Spec.PodSelector, *port.Port) {
							t.Errorf("nothing listens where %s lets in, on %v", n.Name, port.Port)
						}
					}
					for _, from := range in.From {
						if !c.any(t, from.PodSelector) {
							t.Errorf("%s lets nobody in", n.Name)
						}
					}
				}
				for _, out := range n.Spec.Egress {
					for _, to := range out.To {
						if to.PodSelector != nil && !c.listens(t, to.PodSelector, *out.Ports[0].Port) {
							t.Errorf("nothing listens where %s lets out to", n.Name)
						}
					}
				}
			}
		})
	}
}

// Workers of services that compile nothing are warm by a build cache, which is in the bucket that there is.
func TestReplicasHaveABuildCacheInTheirBucket(t *testing.T) {
	env := make(map[string]string)
	for _, e := range build(t, "replicas").pods["k6x"].Spec.Containers[0].Env {
		env[e.Name] = e.Value
	}
	if got, want := env["K6X_BUILD_CACHE"], env["K6X_STORE"]+"&prefix=go"; got != want {
		t.Errorf("the build cache is %q, want %q", got, want)
	}
}

var reference = regexp.MustCompile(`\$\((\w+)\)`)

// checkContainer checks what a container names of its pod and of the cluster.
func checkContainer(t *testing.T, c *cluster, name string, p *pod, container *corev1.Container) {
	t.Helper()
	if container.Image == "k6x" {
		t.Errorf("%s has the image of Containerfile without a place", name)
	}
	var before []string // Kubernetes puts values in of what stands before
	for _, env := range container.Env {
		for _, m := range reference.FindAllStringSubmatch(env.Value, -1) {
			if !slices.Contains(before, m[1]) {
				t.Errorf("%s: %s has %s, which is not set before", name, env.Name, m[0])
			}
		}
		before = append(before, env.Name)
		if from := env.ValueFrom; from != nil && !c.hasSecret(from.SecretKeyRef.Name, from.SecretKeyRef.Key) {
			t.Errorf("%s: nobody is told to make the secret %s with %s", name, from.SecretKeyRef.Name, from.SecretKeyRef.Key)
		}
	}
	for _, from := range container.EnvFrom {
		if !c.hasSecret(from.SecretRef.Name, "") {
			t.Errorf("%s: nobody is told to make the secret %s", name, from.SecretRef.Name)
		}
	}
	mounted := make(map[string]bool)
	for _, m := range container.VolumeMounts {
		mounted[m.Name] = true
	}
	for _, claim := range p.claims {
		if !mounted[claim] {
			t.Errorf("%s claims %s for nothing", name, claim)
		}
		delete(mounted, claim)
	}
	for _, v := range p.Spec.Volumes {
		if !mounted[v.Name] {
			t.Errorf("%s has the volume %s for nothing", name, v.Name)
		}
		delete(mounted, v.Name)
		if v.Secret != nil && !c.hasSecret(v.Secret.SecretName, "") || v.ConfigMap != nil && !c.hasConfig(v.ConfigMap.Name) {
			t.Errorf("%s: what the volume %s has is nowhere", name, v.Name)
		}
	}
	for left := range mounted {
		t.Errorf("%s mounts %s, which is no volume of it", name, left)
	}
}

// selects reports whether a selector selects a pod.
func selects(t *testing.T, selector *metav1.LabelSelector, p *pod) bool {
	t.Helper()
	s, err := metav1.LabelSelectorAsSelector(selector)
	if err != nil {
		t.Fatal(err)
	}
	return s.Matches(labels.Set(p.Labels))
}

func (c *cluster) any(t *testing.T, selector *metav1.LabelSelector) bool {
	for _, p := range c.pods {
		if selects(t, selector, p) {
			return true
		}
	}
	return false
}

// listens reports whether some pods are selected, and those have that port, by its name or number.
func (c *cluster) listens(t *testing.T, selector *metav1.LabelSelector, port intstr.IntOrString) bool {
	for _, p := range c.pods {
		if selects(t, selector, p) && slices.ContainsFunc(p.Spec.Containers[0].Ports, func(has corev1.ContainerPort) bool {
			return port == intstr.FromString(has.Name) || port == intstr.FromInt32(has.ContainerPort)
		}) {
			return true
		}
	}
	return false
}
