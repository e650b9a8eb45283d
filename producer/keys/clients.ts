/** The hospitals: their certificates, and the folder each is given. */
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { writeDurableSync } from '../../agent/base/files.ts';
import type { PublicJwk } from '../../agent/base/jws.ts';
import { ConnectorError } from '../../agent/model/errors.ts';
import type { Instant } from '../../agent/model/record.ts';
import { issueClient } from './certificates.ts';
import { json, parse, read, writeAll } from './files.ts';
import { keyFiles, loadAuthority } from './folder.ts';
import { facilityCode, publicJwkShape } from './shapes.ts';

const clientShape = z.object({
  facility: facilityCode,
  agentKey: publicJwkShape.optional(),
  certificates: z.array(z.object({ serial: z.string(), issuedAt: z.number(), notAfter: z.number() })),
});
export type KnownClient = z.infer<typeof clientShape>;

/** The hospitals certificates were issued for. */
export function listClients(folder: string): KnownClient[] {
  const clients = join(folder, 'clients');
  if (!existsSync(clients)) return [];
  const files = readdirSync(clients).filter((file) => file.endsWith('.json'));
  return files.map((file) => parse(clientShape, folder, join('clients', file)));
}

export interface NewClient {
  readonly facility: string;
  readonly now: Instant;
  readonly notAfter?: Instant;
  /** Pins this key instead of trusting the first that says hello. */
  readonly agentKey?: PublicJwk;
  /** The folder made for the hospital. */
  readonly out: string;
}

/**
 * Issues a hospital's certificate and writes the folder it is given. A hospital may have several at once, so that a
 * new one is in place before the old one ends.
 *
 * @throws ConnectorError ALREADY_EXISTS, PRODUCER_KEYS_UNUSABLE
 */
export async function createClient(folder: string, client: NewClient): Promise<{ serial: string; notAfter: Instant }> {
  if (existsSync(client.out)) throw new ConnectorError('ALREADY_EXISTS', { path: client.out });
  const authority = loadAuthority(folder);
  const issued = await issueClient(authority, client);
  const { serial, notAfter } = issued;
  writeAll(client.out, {
    'ca.pem': authority.certificate,
    'client.pem': issued.certificate,
    'client.key': issued.key,
    recipients: read(folder, keyFiles.recipients),
    'receipt.jwks': read(folder, keyFiles.receiptJwks),
  });
  rememberClient(folder, client, { serial, notAfter });
  return { serial, notAfter };
}

function rememberClient(folder: string, client: NewClient, issued: { serial: string; notAfter: Instant }): void {
  const file = join('clients', `${client.facility}.json`);
  const known = existsSync(join(folder, file)) ? parse(clientShape, folder, file) : undefined;
  const agentKey = client.agentKey ?? known?.agentKey;
  const certificates = [...(known?.certificates ?? []), { ...issued, issuedAt: client.now }];
  const entry = { facility: client.facility, ...(agentKey ? { agentKey } : {}), certificates };
  writeDurableSync(join(folder, file), Buffer.from(json(entry)));
}
