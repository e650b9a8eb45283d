/**
 * Whether a parcel may come in: its statement is signed and says what is announced, its epoch has not been replaced,
 * and there is room for it within the hospital's quota and on the disk.
 */
import { type ConnectorError, isError } from '../../agent/model/errors.ts';
import type { ParcelStatement } from '../../agent/model/wire.ts';
import { readStatement } from '../../agent/parcel/statement.ts';
import type { ParcelStore } from '../storage/store.ts';
import type { Agents } from './agents.ts';
import type { IntakeLimits } from './limits.ts';
import type { Parcels } from './parcels.ts';
import { type RefusalCode, refusal } from './refusals.ts';
import { idShape } from './shapes.ts';

export interface AdmissionParts {
  readonly store: ParcelStore;
  readonly agents: Agents;
  readonly parcels: Parcels;
  readonly limits: IntakeLimits;
}

export interface Announcement {
  readonly agent: string;
  readonly parcelId: string;
  /** Upload-Length. */
  readonly bytes: number;
  /** The statement's JWS. */
  readonly statement: string;
}

/** @throws ConnectorError INTAKE_REFUSED */
export function admittedStatement(
  { agents, limits }: AdmissionParts,
  { agent, parcelId, bytes, statement: jws }: Announcement,
): ParcelStatement {
  if (!idShape.safeParse(parcelId).success) throw refusal('BAD_REQUEST');
  if (bytes > limits.parcelBytes) throw refusal('TOO_LARGE');
  const keys = agents.keys(agent);
  if (keys.length === 0) throw refusal('STATEMENT_NO_KEY');
  const statement = readOrRefuse(keys, jws);
  const fits = statement.agent === agent && statement.parcelId === parcelId && statement.bytes === bytes && bytes > 0;
  if (!fits) throw refusal('STATEMENT_MISMATCH');
  if (statement.epoch < (agents.find(agent)?.epoch ?? 0)) throw refusal('STATEMENT_EPOCH');
  return statement;
}

/** @throws ConnectorError INTAKE_REFUSED */
export async function refuseOverQuota(parts: AdmissionParts, { agent, bytes }: Announcement): Promise<void> {
  const { parcels, limits } = parts;
  const { unfinished, waitingBytes } = parcels.usage(agent);
  const isFull = unfinished >= limits.unfinishedUploads || waitingBytes + bytes > limits.quotaBytes;
  if (isFull || parcels.rowCount(agent) >= limits.parcelRows) throw refusal('QUOTA');
  await refuseFull(parts, bytes);
}

/** What the disk keeps in reserve is not for parcels. @throws ConnectorError INTAKE_REFUSED */
export async function refuseFull({ store, limits }: AdmissionParts, bytes: number): Promise<void> {
  if ((await store.freeBytes()) - bytes < limits.reserveBytes) throw refusal('FULL');
}

function readOrRefuse(keys: Parameters<typeof readStatement>[0], jws: string): ParcelStatement {
  try {
    return readStatement(keys, jws);
  } catch (cause) {
    throw refusal(isError(cause, 'SIGNATURE_INVALID') ? signatureOrShape(cause) : 'STATEMENT_SHAPE', cause);
  }
}

/** `readStatement` has one code for both; only a field that is not as it should be is named in its reason. */
function signatureOrShape(error: ConnectorError): RefusalCode {
  return String(error.details.reason).endsWith('as the format says') ? 'STATEMENT_SHAPE' : 'STATEMENT_SIGNATURE';
}
