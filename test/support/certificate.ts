import { execFile } from "node:child_process";
import path from "node:path";
import { promisify } from "node:util";

export interface CertificateFiles {
  readonly key: string;
  readonly certificate: string;
}

/** Makes a key and a certificate for 127.0.0.1 that it signs itself, good for two days, as files in PEM. */
export async function createCertificate(folder: string): Promise<CertificateFiles> {
  const files = { key: path.join(folder, "key.pem"), certificate: path.join(folder, "certificate.pem") };
  const request = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"];
  const subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"];
  await promisify(execFile)("openssl", [...request, ...subject, "-keyout", files.key, "-out", files.certificate]);
  return files;
}
