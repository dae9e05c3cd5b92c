import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { describe, expect, test } from "vitest";
import { parse, parseAllDocuments } from "yaml";
import { z } from "zod";
import { resolveConfig } from "../packages/server/src/config.ts";
import { goodSecrets, refusedSettings, stopMs } from "./support/deploy-settings.ts";
import { manifestProblems } from "./support/manifests.ts";
import { repositoryRoot } from "./support/process.ts";

const folder = path.join(repositoryRoot, "deploy/kubernetes");
const files = readdirSync(folder).filter((name) => name.endsWith(".yaml"));

function documentsOf(name: string): readonly unknown[] {
  return parseAllDocuments(readFileSync(path.join(folder, name), "utf8")).map((document) => {
    expect(document.errors).toEqual([]);
    const content: unknown = document.toJS();
    return content;
  });
}

const probeSchema = z.looseObject({ httpGet: z.strictObject({ path: z.string(), port: z.string() }) });
const deploymentSchema = z.looseObject({
  spec: z.looseObject({
    selector: z.strictObject({ matchLabels: z.record(z.string(), z.string()) }),
    template: z.looseObject({
      metadata: z.looseObject({
        labels: z.record(z.string(), z.string()),
        annotations: z.record(z.string(), z.string()),
      }),
      spec: z.looseObject({
        terminationGracePeriodSeconds: z.number(),
        containers: z.tuple([
          z.looseObject({
            envFrom: z.array(z.record(z.string(), z.strictObject({ name: z.string() }))),
            ports: z.array(z.strictObject({ name: z.string(), containerPort: z.number() })),
            startupProbe: probeSchema,
            readinessProbe: probeSchema,
            livenessProbe: probeSchema,
          }),
        ]),
      }),
    }),
  }),
});
const deployment = deploymentSchema.parse(documentsOf("deployment.yaml")[0]);
const pod = deployment.spec.template;
const [container] = pod.spec.containers;
const settings = z.looseObject({ data: z.record(z.string(), z.string()) }).parse(documentsOf("config.yaml")[0]).data;
const secrets = z
  .looseObject({ stringData: z.record(z.string(), z.string()) })
  .parse(documentsOf("secret.example.yaml")[0]).stringData;

describe("the manifests for Kubernetes", () => {
  test.each(files)("%s is what the API's schemas say", (name) => {
    const documents = documentsOf(name);
    expect(documents.length).toBeGreaterThan(0);
    expect(documents.flatMap(manifestProblems)).toEqual([]);
  });

  test("a wrong type, a missing field and an unknown one are found", () => {
    const text = readFileSync(path.join(folder, "deployment.yaml"), "utf8");
    const changed = (from: string, to: string): readonly string[] => {
      expect(text).toContain(from);
      const content: unknown = parse(text.replace(from, to));
      return manifestProblems(content);
    };
    expect(changed("containerPort: 3001", 'containerPort: "3001"')).toHaveLength(1);
    expect(changed("- name: parley\n          #", "- #")).toHaveLength(1);
    expect(changed("readinessProbe", "readynessProbe")).toEqual([
      "Deployment/spec/template/spec/containers/0/readynessProbe: unknown field",
    ]);
    expect(manifestProblems({ apiVersion: "apps/v1beta1", kind: "Deployment" })).toHaveLength(1);
  });

  test("the pods listen where probes, services and Prometheus look", () => {
    const config = resolveConfig({ env: { ...settings, ...goodSecrets } });
    expect(config.internal.host).toBe("0.0.0.0");
    const ports = Object.fromEntries(container.ports.map(({ name, containerPort }) => [name, containerPort]));
    expect(ports).toEqual({ public: config.server.port, internal: config.internal.port });
    expect(container.readinessProbe.httpGet).toEqual({ path: "/health/ready", port: "internal" });
    expect(container.livenessProbe.httpGet).toEqual({ path: "/health/live", port: "internal" });
    expect(container.startupProbe.httpGet).toEqual({ path: "/health/live", port: "internal" });
    expect(pod.metadata.annotations["prometheus.io/port"]).toBe(String(config.internal.port));
    const serviceSchema = z.looseObject({
      spec: z.looseObject({
        selector: z.record(z.string(), z.string()),
        ports: z.tuple([z.looseObject({ name: z.string(), targetPort: z.string() })]),
      }),
    });
    const services = documentsOf("services.yaml").map((document) => serviceSchema.parse(document).spec);
    expect(services.map(({ ports: [{ targetPort }] }) => targetPort)).toEqual(["public", "internal"]);
    for (const { selector } of services) expect(pod.metadata.labels).toMatchObject(selector);
    expect(pod.metadata.labels).toMatchObject(deployment.spec.selector.matchLabels);
  });

  test("[OUT-1] the drain is over before Kubernetes kills the node", () => {
    const config = resolveConfig({ env: { ...settings, ...goodSecrets } });
    expect(pod.spec.terminationGracePeriodSeconds * 1_000).toBeGreaterThan(stopMs(config));
  });

  test("the ingress keeps connections that are well, and takes what a node takes", () => {
    const { metadata, spec } = z
      .looseObject({
        metadata: z.looseObject({ annotations: z.record(z.string(), z.string()) }),
        spec: z.looseObject({
          rules: z.tuple([
            z.looseObject({
              http: z.strictObject({
                paths: z.tuple([
                  z.looseObject({
                    backend: z.strictObject({
                      service: z.strictObject({ name: z.string(), port: z.strictObject({ name: z.string() }) }),
                    }),
                  }),
                ]),
              }),
            }),
          ]),
        }),
      })
      .parse(documentsOf("ingress.yaml")[0]);
    const annotation = (name: string): string => metadata.annotations[`nginx.ingress.kubernetes.io/${name}`] ?? "";
    const { heartbeat, limits } = resolveConfig({ env: { ...settings, ...goodSecrets } });
    const idleSeconds = (heartbeat.pingIntervalMs + heartbeat.pingTimeoutMs) / 1_000;
    expect(Number(annotation("proxy-read-timeout"))).toBeGreaterThan(idleSeconds);
    expect(Number(annotation("proxy-send-timeout"))).toBeGreaterThan(idleSeconds);
    expect(annotation("proxy-body-size")).toMatch(/^[0-9]+m$/);
    expect(Number.parseInt(annotation("proxy-body-size"), 10) * 1_048_576).toBeGreaterThanOrEqual(
      limits.payloadBytesMax,
    );
    // What the controller itself accepts as an expression.
    expect(annotation("upstream-hash-by")).toMatch(/^[A-Za-z0-9\-_${}]*$/);
    expect(annotation("upstream-hash-by")).toContain("$arg_key");
    expect(spec.rules[0].http.paths[0].backend.service).toEqual({ name: "parley", port: { name: "public" } });
  });

  test("a node refuses to start with the placeholders of the example, and starts with secrets", () => {
    expect(container.envFrom).toEqual([{ configMapRef: { name: "parley" } }, { secretRef: { name: "parley" } }]);
    expect(refusedSettings({ ...settings, ...secrets })).toEqual(["api.keys", "auth.secret", "bus.secret"]);
    expect(refusedSettings({ ...settings, ...secrets, ...goodSecrets })).toEqual([]);
  });
});
