/**
 * The producer's private certificate authority: one root that signs the intake's certificate and one certificate a
 * hospital. Private on purpose: only a certificate we issued opens the door, and no public authority can issue one.
 *
 * ECDSA P-256 with SHA-256 throughout, which every TLS 1.3 stack has. The extended key usages keep the two kinds apart:
 * a server's certificate is refused as a client's, and a hospital's cannot be used to pose as the intake.
 */
import 'reflect-metadata';
import * as x509 from '@peculiar/x509';
import { KeyObject, randomBytes, webcrypto } from 'node:crypto';
import type { Instant } from '../../agent/model/record.ts';

const dayMs = 86_400_000;

/** The root outlives every hospital's enrolment; replacing it means visiting all of them. */
const authorityDays = 20 * 365;
/** Long enough for a budget year and its delay; `fleet` and the agent's own health say when it nears its end. */
const leafDays = 3 * 365;
/** Clocks of two sites differ: a certificate is valid from an hour before it was made. */
const backdateMs = 3_600_000;

const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };

export interface Certificate {
  /** PEM. */
  readonly certificate: string;
  /** PKCS#8 PEM. */
  readonly key: string;
}

export interface IssuedClient extends Certificate {
  /** Hex, lower case: what the revocation list names. */
  readonly serial: string;
  readonly notAfter: Instant;
}

export async function newAuthority(options: { name: string; now: Instant }): Promise<Certificate> {
  const keys = await newKeys();
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    ...validity(options.now, authorityDays),
    serialNumber: newSerial(),
    name: nameOf(`${options.name} intake authority`),
    keys,
    signingAlgorithm: algorithm,
    extensions: [
      new x509.BasicConstraintsExtension(true, 0, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  return { certificate: `${certificate.toString('pem')}\n`, key: privatePem(keys.privateKey) };
}

/** `hosts` are DNS names and IP addresses; the first one names the certificate. */
export async function issueServer(
  authority: Certificate,
  options: { hosts: readonly string[]; now: Instant },
): Promise<Certificate> {
  const names = options.hosts.map((host) => ({
    type: isAddress(host) ? ('ip' as const) : ('dns' as const),
    value: host,
  }));
  const issued = await issue(authority, {
    commonName: options.hosts[0] ?? 'intake',
    usage: x509.ExtendedKeyUsage.serverAuth,
    notAfter: options.now + leafDays * dayMs,
    now: options.now,
    more: [new x509.SubjectAlternativeNameExtension(names)],
  });
  return { certificate: issued.certificate, key: issued.key };
}

/** The facility code becomes the subject's CN, which is all that says who is calling. */
export async function issueClient(
  authority: Certificate,
  options: { facility: string; now: Instant; notAfter?: Instant },
): Promise<IssuedClient> {
  const { facility, now, notAfter = now + leafDays * dayMs } = options;
  return issue(authority, { commonName: facility, usage: x509.ExtendedKeyUsage.clientAuth, notAfter, now, more: [] });
}

interface LeafPlan {
  readonly commonName: string;
  readonly usage: x509.ExtendedKeyUsage;
  readonly now: Instant;
  readonly notAfter: Instant;
  readonly more: readonly x509.Extension[];
}

async function issue(authority: Certificate, plan: LeafPlan): Promise<IssuedClient> {
  const root = new x509.X509Certificate(authority.certificate);
  const keys = await newKeys();
  const serial = newSerial();
  const certificate = await x509.X509CertificateGenerator.create({
    notBefore: new Date(Math.min(plan.now, plan.notAfter) - backdateMs),
    notAfter: new Date(plan.notAfter),
    serialNumber: serial,
    subject: nameOf(plan.commonName),
    issuer: root.subjectName,
    publicKey: keys.publicKey,
    signingKey: await importSigner(authority.key),
    signingAlgorithm: algorithm,
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      new x509.ExtendedKeyUsageExtension([plan.usage]),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
      await x509.AuthorityKeyIdentifierExtension.create(root.publicKey),
      ...plan.more,
    ],
  });
  return {
    certificate: `${certificate.toString('pem')}\n`,
    key: privatePem(keys.privateKey),
    serial,
    notAfter: plan.notAfter,
  };
}

function newKeys(): Promise<webcrypto.CryptoKeyPair> {
  return webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify']);
}

function importSigner(pem: string): Promise<webcrypto.CryptoKey> {
  const der = Buffer.from(pem.replaceAll(/-----[^-]+-----|\s/g, ''), 'base64');
  return webcrypto.subtle.importKey('pkcs8', der, algorithm, false, ['sign']);
}

function privatePem(key: webcrypto.CryptoKey): string {
  return KeyObject.from(key).export({ type: 'pkcs8', format: 'pem' });
}

/** 127 random bits: positive, never zero in the first byte, so every tool prints the same hex (RFC 5280 4.1.2.2). */
function newSerial(): string {
  const bytes = randomBytes(16);
  bytes.writeUInt8((bytes.readUInt8(0) & 0x3f) | 0x40, 0);
  return bytes.toString('hex');
}

function nameOf(commonName: string): x509.Name {
  return new x509.Name([{ CN: [commonName] }]);
}

function validity(now: Instant, days: number): { notBefore: Date; notAfter: Date } {
  return { notBefore: new Date(now - backdateMs), notAfter: new Date(now + days * dayMs) };
}

function isAddress(host: string): boolean {
  return /^[\d.]+$/.test(host) || host.includes(':');
}
