/**
 * Every "no" the intake says, in one table: the stable code a client matches on, its HTTP status, and a sentence for
 * the person who reads a log at the hospital. docs/producer-api.openapi.yaml has the same list; a test compares them.
 */
import { ConnectorError } from '../../agent/model/errors.ts';

interface RefusalEntry {
  readonly status: number;
  readonly message: string;
}

export const refusalTable = {
  BAD_REQUEST: { status: 400, message: 'A header or the body does not have the form described.' },
  HEARTBEAT_INVALID: { status: 400, message: 'The heartbeat or its signature is not valid.' },
  CERTIFICATE_NAME: { status: 403, message: 'The client certificate does not name a facility.' },
  CERTIFICATE_REVOKED: { status: 403, message: 'The client certificate has been revoked.' },
  CERTIFICATE_EXPIRED: { status: 403, message: 'The client certificate ran out while the connection was open.' },
  AGENT_MISMATCH: { status: 403, message: 'What was signed names another facility than the client certificate.' },
  KEY_MISMATCH: { status: 403, message: 'Another signing key is pinned for this facility.' },
  NOT_FOUND: { status: 404, message: 'There is nothing here, or nothing of yours.' },
  METHOD_NOT_ALLOWED: { status: 405, message: 'This method is not offered here.' },
  BODY_TIMEOUT: { status: 408, message: 'The body stopped arriving.' },
  EXISTS: { status: 409, message: 'This parcel id is taken; ask HEAD where it stands.' },
  EPOCH_OLD: { status: 409, message: 'A newer epoch of this agent is known: a restored copy has replaced this one.' },
  OFFSET_MISMATCH: { status: 409, message: 'Upload-Offset is not where the upload stands; ask HEAD.' },
  SEQUENCE_OLD: { status: 409, message: 'A heartbeat with this or a higher sequence was already taken.' },
  RETRACTION_CHANGED: { status: 409, message: 'This retraction id was used before with other content.' },
  GONE: { status: 410, message: 'This parcel was voided, for ever.' },
  TUS_VERSION: { status: 412, message: 'Tus-Resumable must be 1.0.0.' },
  TOO_LARGE: { status: 413, message: 'Larger than what is accepted, or than what was announced.' },
  MEDIA_TYPE: { status: 415, message: 'The Content-Type is not the one described.' },
  SIGNATURE_INVALID: { status: 422, message: 'The signature, its type or the shape of what was signed is not valid.' },
  STATEMENT_NO_KEY: { status: 422, message: 'No signing key is known for this facility: say hello first.' },
  STATEMENT_SIGNATURE: { status: 422, message: 'The statement is not signed by the pinned key.' },
  STATEMENT_SHAPE: { status: 422, message: 'The statement does not have the form described.' },
  STATEMENT_MISMATCH: { status: 422, message: 'The statement does not fit the request: facility, id or length.' },
  STATEMENT_EPOCH: { status: 422, message: 'The statement is of an epoch that has been replaced.' },
  STATEMENT_SEQUENCE: { status: 422, message: 'Another parcel already has this sequence number.' },
  LOCKED: { status: 423, message: 'Another request is writing this upload.' },
  BUSY: { status: 429, message: 'Too many requests of this facility at once.' },
  DIGEST_MISMATCH: { status: 460, message: 'The whole does not have the stated digest; send it again from offset 0.' },
  INTERNAL: { status: 500, message: 'The intake failed; nothing was promised. Try again.' },
  STOPPING: { status: 503, message: 'The intake is stopping; try again soon.' },
  FULL: { status: 507, message: 'The disk is full; nothing is lost, try again later.' },
  QUOTA: { status: 507, message: 'This facility has reached its share of the disk; try again later.' },
} as const satisfies Readonly<Record<string, RefusalEntry>>;

export type RefusalCode = keyof typeof refusalTable;

/** The refusal as an error: thrown where the trouble is seen, answered in one place. */
export function refusal(code: RefusalCode, cause?: unknown): ConnectorError {
  return new ConnectorError('INTAKE_REFUSED', { answer: code }, { cause });
}

/** The refusal's code, when the error is one. */
export function refusalOf(error: unknown): RefusalCode | undefined {
  if (!(error instanceof ConnectorError) || error.code !== 'INTAKE_REFUSED') return undefined;
  const code = String(error.details.answer);
  return isRefusalCode(code) ? code : undefined;
}

function isRefusalCode(text: string): text is RefusalCode {
  return Object.hasOwn(refusalTable, text);
}
