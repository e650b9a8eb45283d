/**
 * Certificates for tests, made on the spot: an authority, a server, and clients good and bad. Nothing here is ever
 * trusted outside the folder it was made in.
 */
import 'reflect-metadata';
import { webcrypto } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import * as x509 from '@peculiar/x509';
import type { TlsFiles } from '../../../agent/base/net.ts';

x509.cryptoProvider.set(webcrypto);

const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const;
const dayMs = 86_400_000;

interface Identity {
  readonly certificate: x509.X509Certificate;
  readonly keys: webcrypto.CryptoKeyPair;
}

/** PEM texts of one end. */
export interface Pair {
  readonly cert: string;
  readonly key: string;
}

export interface IssueOptions {
  readonly commonName: string;
  /** Days from now; may be negative. Default: yesterday to in a month. */
  readonly fromDay?: number;
  readonly toDay?: number;
  /** Default: `localhost` and 127.0.0.1. */
  readonly names?: readonly { readonly type: 'dns' | 'ip'; readonly value: string }[];
}

export class Authority {
  readonly #root: Identity;

  private constructor(root: Identity) {
    this.#root = root;
  }

  static async create(commonName: string): Promise<Authority> {
    const keys = await newKeys();
    const certificate = await x509.X509CertificateGenerator.createSelfSigned({
      name: `CN=${commonName}`,
      keys,
      ...validity({ commonName }),
      signingAlgorithm: algorithm,
      extensions: [new x509.BasicConstraintsExtension(true, 1, true)],
    });
    return new Authority({ certificate, keys });
  }

  get cert(): string {
    return this.#root.certificate.toString('pem');
  }

  async issue(options: IssueOptions): Promise<Pair> {
    const keys = await newKeys();
    const names = options.names ?? [
      { type: 'dns', value: 'localhost' },
      { type: 'ip', value: '127.0.0.1' },
    ];
    const certificate = await x509.X509CertificateGenerator.create({
      subject: `CN=${options.commonName}`,
      issuer: this.#root.certificate.subject,
      signingKey: this.#root.keys.privateKey,
      publicKey: keys.publicKey,
      ...validity(options),
      signingAlgorithm: algorithm,
      extensions: [new x509.SubjectAlternativeNameExtension([...names])],
    });
    const der = Buffer.from(await webcrypto.subtle.exportKey('pkcs8', keys.privateKey)).toString('base64');
    const key = `-----BEGIN PRIVATE KEY-----\n${der.replaceAll(/.{64}/g, '$&\n')}\n-----END PRIVATE KEY-----\n`;
    return { cert: certificate.toString('pem'), key };
  }
}

/** What most tests need: one authority, a server for localhost, and one hospital. */
export interface Certificates {
  readonly authority: Authority;
  readonly server: Pair;
  /** PEM files of the hospital, CN = facility code. */
  readonly client: TlsFiles;
}

export async function makeCertificates(folder: string, facility = '1312345670'): Promise<Certificates> {
  const authority = await Authority.create('Test producer CA');
  const server = await authority.issue({ commonName: 'localhost' });
  const client = await writeClient(folder, 'client', authority.cert, await authority.issue({ commonName: facility }));
  return { authority, server, client };
}

export async function writeClient(folder: string, name: string, ca: string, pair: Pair): Promise<TlsFiles> {
  const files = {
    ca: join(folder, `${name}.ca.pem`),
    cert: join(folder, `${name}.pem`),
    key: join(folder, `${name}.key`),
  };
  await writeFile(files.ca, ca);
  await writeFile(files.cert, pair.cert);
  await writeFile(files.key, pair.key, { mode: 0o600 });
  return files;
}

async function newKeys(): Promise<webcrypto.CryptoKeyPair> {
  return await webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify']);
}

function validity({ fromDay = -1, toDay = 30 }: IssueOptions): { notBefore: Date; notAfter: Date } {
  return { notBefore: new Date(Date.now() + fromDay * dayMs), notAfter: new Date(Date.now() + toDay * dayMs) };
}
