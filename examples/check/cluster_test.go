package check

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

const kubernetes = "../kubernetes"

// cluster is what a directory makes.
type cluster struct {
	secrets map[string]string // how those are made that its head says how to make

	services []*corev1.Service
	configs  []*corev1.ConfigMap
	pods     map[string]*pod // by the name of what makes them
	policies []*networkingv1.NetworkPolicy
	budgets  []*policyv1.PodDisruptionBudget
	scalers  []*autoscalingv2.HorizontalPodAutoscaler
}

// pod is a pod that is made, with the names of its claims.
type pod struct {
	*corev1.PodTemplateSpec
	claims []string
}

// build is kustomize build DIR.
func build(t *testing.T, dir string) *cluster {
	t.Helper()
	dir = filepath.Join(kubernetes, dir)
	head, err := os.ReadFile(filepath.Join(dir, "kustomization.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	c := &cluster{secrets: make(map[string]string), pods: make(map[string]*pod)}
	for _, m := range regexp.MustCompile(`create secret generic (\S+) (.*)`).FindAllStringSubmatch(string(head), -1) {
		c.secrets[m[1]] = m[2]
	}
	made, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range made.Resources() {
		if r.GetKind() != "Namespace" && r.GetNamespace() != "k6x" {
			t.Errorf("%s is in the namespace %q", r.CurId(), r.GetNamespace())
		}
		text, err := r.AsYAML()
		if err != nil {
			t.Fatal(err)
		}
		c.add(t, text)
	}
	return c
}

// scheme has the kinds that are used here.
func scheme(t *testing.T) *runtime.Scheme {
	s := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		corev1.AddToScheme, appsv1.AddToScheme, batchv1.AddToScheme, networkingv1.AddToScheme, policyv1.AddToScheme, autoscalingv2.AddToScheme,
	} {
		if err := add(s); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// add adds an object, whose fields have to be those of its kind.
func (c *cluster) add(t *testing.T, text []byte) {
	t.Helper()
	object, _, err := serializer.NewCodecFactory(scheme(t), serializer.EnableStrict).UniversalDeserializer().Decode(text, nil, nil)
	if err != nil {
		t.Fatalf("%v, of\n%s", err, text)
	}
	switch o := object.(type) {
	case *corev1.Namespace:
		if o.Labels["pod-security.kubernetes.io/enforce"] != "restricted" {
			t.Errorf("the namespace %s does not enforce the restricted standard", o.Name)
		}
	case *corev1.Service:
		c.services = append(c.services, o)
	case *corev1.ConfigMap:
		c.configs = append(c.configs, o)
	case *appsv1.StatefulSet:
		p := &pod{PodTemplateSpec: &o.Spec.Template}
		for _, claim := range o.Spec.VolumeClaimTemplates {
			p.claims = append(p.claims, claim.Name)
		}
		c.pods[o.Name] = p
		if !selects(t, o.Spec.Selector, p) {
			t.Errorf("%s does not select its pods", o.Name)
		}
	case *batchv1.Job:
		c.pods[o.Name] = &pod{PodTemplateSpec: &o.Spec.Template}
	case *networkingv1.NetworkPolicy:
		c.policies = append(c.policies, o)
	case *policyv1.PodDisruptionBudget:
		c.budgets = append(c.budgets, o)
	case *autoscalingv2.HorizontalPodAutoscaler:
		c.scalers = append(c.scalers, o)
	default:
		t.Errorf("nothing here knows what a %T is good for", o)
	}
}

// hasSecret reports whether there will be a secret, with that key unless it is "".
func (c *cluster) hasSecret(name, key string) bool {
	made, ok := c.secrets[name]
	return ok && (key == "" || strings.Contains(made, "--from-literal="+key+"="))
}

func (c *cluster) hasConfig(name string) bool {
	return slices.ContainsFunc(c.configs, func(m *corev1.ConfigMap) bool { return m.Name == name })
}
