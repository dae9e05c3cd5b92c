import { validate as validateNetworkPolicy } from "kubernetes-models/_schemas/IoK8sApiNetworkingV1NetworkPolicy";
import { validate as validateIngress } from "kubernetes-models/_schemas/IoK8sApiNetworkingV1Ingress";
import { validate as validateAutoscaler } from "kubernetes-models/_schemas/IoK8sApiAutoscalingV2HorizontalPodAutoscaler";
import { validate as validateBudget } from "kubernetes-models/_schemas/IoK8sApiPolicyV1PodDisruptionBudget";
import { validate as validateConfigMap } from "kubernetes-models/_schemas/IoK8sApiCoreV1ConfigMap";
import { validate as validateDeployment } from "kubernetes-models/_schemas/IoK8sApiAppsV1Deployment";
import { validate as validateSecret } from "kubernetes-models/_schemas/IoK8sApiCoreV1Secret";
import { validate as validateService } from "kubernetes-models/_schemas/IoK8sApiCoreV1Service";
import { z } from "zod";

const validators: Readonly<Record<string, (data: unknown) => boolean>> = {
  "apps/v1 Deployment": validateDeployment,
  "autoscaling/v2 HorizontalPodAutoscaler": validateAutoscaler,
  "networking.k8s.io/v1 Ingress": validateIngress,
  "networking.k8s.io/v1 NetworkPolicy": validateNetworkPolicy,
  "policy/v1 PodDisruptionBudget": validateBudget,
  "v1 ConfigMap": validateConfigMap,
  "v1 Secret": validateSecret,
  "v1 Service": validateService,
};

const kindSchema = z.looseObject({ apiVersion: z.string(), kind: z.string() });
const errorsSchema = z.array(z.looseObject({ instancePath: z.string(), keyword: z.string(), params: z.unknown() }));

/** What the API server would say against a manifest: by the schemas of the Kubernetes API, and fields that these do not know. */
export function manifestProblems(manifest: unknown): readonly string[] {
  const { apiVersion, kind } = kindSchema.parse(manifest);
  const validate = validators[`${apiVersion} ${kind}`];
  if (validate === undefined) return [`there is no schema for ${apiVersion} ${kind}`];
  const looked = new Set<string>();
  if (!validate(watch(manifest, "", looked))) {
    const errors = errorsSchema.parse(Reflect.get(validate, "errors"));
    return errors.map(
      ({ instancePath, keyword, params }) => `${kind}${instancePath}: ${keyword} ${JSON.stringify(params)}`,
    );
  }
  return neverLookedAt(manifest, "", looked).map((path) => `${kind}${path}: unknown field`);
}

// Why: the schemas allow fields that they do not know, and the API server drops them. But a validator looks at every field that
// its schema has, so one that it never looked at is misspelt.
function watch(value: unknown, path: string, looked: Set<string>): unknown {
  if (typeof value !== "object" || value === null) return value;
  return new Proxy(value, {
    get(target, key) {
      const child: unknown = Reflect.get(target, key);
      if (typeof key === "symbol") return child;
      looked.add(`${path}/${key}`);
      return watch(child, `${path}/${key}`, looked);
    },
  });
}

function neverLookedAt(value: unknown, path: string, looked: ReadonlySet<string>): readonly string[] {
  if (typeof value !== "object" || value === null) return [];
  return Object.entries(value).flatMap(([key, child]: [string, unknown]) => {
    const inner = `${path}/${key}`;
    return looked.has(inner) ? neverLookedAt(child, inner, looked) : [inner];
  });
}
