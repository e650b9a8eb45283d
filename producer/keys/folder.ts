/**
 * The producer's key folder. What a hospital gets from it is in `clients.ts`.
 *
 * ```
 * producer.json       name and hosts
 * online.identity     age identity of the intake: opens parcels           secret
 * recovery.identity   age identity for the safe: opens them when the first is lost   secret, to be moved away
 * recipients          the public halves of both, one a line               to every hospital
 * receipt.key         Ed25519, signs receipts                             secret
 * receipt.jwks        its public half                                     to every hospital
 * ca.key  ca.pem      the private authority                               secret / to every hospital
 * server.key server.pem   the intake's certificate
 * revoked             serials of certificates that are no longer welcome
 * clients/CODE.json   one a hospital: certificates issued, agent key if it was registered beforehand
 * ```
 * Files are 0600, the folder 0700; no command overwrites any of it, but for `keygen --renew-server`.
 */
import { createPrivateKey } from 'node:crypto';
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { generateX25519Identity, identityToRecipient } from 'age-encryption';
import { z } from 'zod';
import { newSigningKey, type SigningKey, signingKey } from '../../agent/base/jws.ts';
import { ConnectorError } from '../../agent/model/errors.ts';
import type { Instant } from '../../agent/model/record.ts';
import { type Certificate, issueServer, newAuthority } from './certificates.ts';
import { json, parse, read, readSecret, unusable, writeAll } from './files.ts';

export const keyFiles = {
  producer: 'producer.json',
  onlineIdentity: 'online.identity',
  recoveryIdentity: 'recovery.identity',
  recipients: 'recipients',
  receiptKey: 'receipt.key',
  receiptJwks: 'receipt.jwks',
  caKey: 'ca.key',
  ca: 'ca.pem',
  serverKey: 'server.key',
  server: 'server.pem',
  revoked: 'revoked',
} as const;

const revokedHeader = `# Certificates that are no longer welcome: one serial number (hex) a line, as \`client\` printed it.
# The running intake reads this file again as soon as it changes.
`;

export interface KeyFolder {
  readonly name: string;
  readonly signing: SigningKey;
  readonly tls: { readonly ca: string; readonly certificate: string; readonly key: string };
  /** age identities found in the folder; none when the producer keeps them elsewhere. */
  readonly identities: readonly string[];
  readonly revokedPath: string;
}

const producerShape = z.object({
  name: z.string().regex(/^[a-z0-9][a-z0-9-]{0,31}$/),
  hosts: z.array(z.string()).min(1),
});

/**
 * Makes everything a new producer needs.
 *
 * @throws ConnectorError ALREADY_EXISTS - the folder holds something; nothing was written.
 */
export async function createKeyFolder(
  folder: string,
  options: { name: string; hosts: readonly string[]; now: Instant },
): Promise<void> {
  if (existsSync(folder) && readdirSync(folder).length > 0)
    throw new ConnectorError('ALREADY_EXISTS', { path: folder });
  const { name, hosts, now } = options;
  const authority = await newAuthority({ name, now });
  const server = await issueServer(authority, { hosts, now });
  const online = await newIdentity('online');
  const recovery = await newIdentity('recovery');
  const receipt = newSigningKey();
  writeAll(folder, {
    [keyFiles.producer]: json({ name, hosts }),
    [keyFiles.onlineIdentity]: online.text,
    [keyFiles.recoveryIdentity]: recovery.text,
    [keyFiles.recipients]: `# ${name}: online\n${online.recipient}\n# ${name}: recovery\n${recovery.recipient}\n`,
    [keyFiles.receiptKey]: receipt.privateKey.export({ type: 'pkcs8', format: 'pem' }),
    [keyFiles.receiptJwks]: json({ keys: [{ ...receipt.publicJwk, kid: receipt.kid, alg: 'EdDSA', use: 'sig' }] }),
    [keyFiles.caKey]: authority.key,
    [keyFiles.ca]: authority.certificate,
    [keyFiles.serverKey]: server.key,
    [keyFiles.server]: server.certificate,
    [keyFiles.revoked]: revokedHeader,
  });
}

/**
 * A new server certificate for the same hosts, or for others; hospitals notice nothing, because they trust the
 * authority. The one thing here that replaces a file: it has an end, and the intake must not end with it.
 *
 * @throws ConnectorError PRODUCER_KEYS_UNUSABLE
 */
export async function renewServer(
  folder: string,
  options: { hosts?: readonly string[] | undefined; now: Instant },
): Promise<readonly string[]> {
  const { name, hosts: known } = parse(producerShape, folder, keyFiles.producer);
  const hosts = options.hosts ?? known;
  const { certificate, key } = await issueServer(loadAuthority(folder), { hosts, now: options.now });
  writeAll(folder, {
    [keyFiles.producer]: json({ name, hosts }),
    [keyFiles.serverKey]: key,
    [keyFiles.server]: certificate,
  });
  return hosts;
}

/** @throws ConnectorError PRODUCER_KEYS_UNUSABLE */
export function loadKeyFolder(folder: string): KeyFolder {
  const { name } = parse(producerShape, folder, keyFiles.producer);
  return {
    name,
    signing: loadSigningKey(folder),
    tls: {
      ca: read(folder, keyFiles.ca),
      certificate: read(folder, keyFiles.server),
      key: readSecret(folder, keyFiles.serverKey),
    },
    identities: loadIdentities(folder),
    revokedPath: join(folder, keyFiles.revoked),
  };
}

/** The receipt key alone, and the producer's name: what signs offline. @throws ConnectorError PRODUCER_KEYS_UNUSABLE */
export function loadReceiptSigner(folder: string): { name: string; signing: SigningKey } {
  return { name: parse(producerShape, folder, keyFiles.producer).name, signing: loadSigningKey(folder) };
}

/** Every identity in the folder: after a disaster the recovery identity may be the only one. */
export function loadIdentities(folder: string): string[] {
  return [keyFiles.onlineIdentity, keyFiles.recoveryIdentity]
    .filter((file) => existsSync(join(folder, file)))
    .flatMap((file) => readSecret(folder, file).split('\n'))
    .filter((line) => line.startsWith('AGE-SECRET-KEY-'));
}

async function newIdentity(label: string): Promise<{ text: string; recipient: string }> {
  const identity = await generateX25519Identity();
  const recipient = await identityToRecipient(identity);
  return { recipient, text: `# ${label}\n# public key: ${recipient}\n${identity}\n` };
}

/** @throws ConnectorError PRODUCER_KEYS_UNUSABLE */
export function loadAuthority(folder: string): Certificate {
  return { certificate: read(folder, keyFiles.ca), key: readSecret(folder, keyFiles.caKey) };
}

function loadSigningKey(folder: string): SigningKey {
  const pem = readSecret(folder, keyFiles.receiptKey);
  try {
    return signingKey(createPrivateKey(pem));
  } catch (cause) {
    throw unusable(folder, `${keyFiles.receiptKey} is not an Ed25519 key`, cause);
  }
}
