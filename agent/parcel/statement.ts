import { type PublicJwk, verifyJws } from '../base/jws.ts';
import { ConnectorError } from '../model/errors.ts';
import { jwsTypes, type ParcelStatement } from '../model/wire.ts';
import { statementSchema, suite } from './manifest.ts';

/**
 * The signed statement beside a parcel, checked: signature, type and every field. What it says of the sealed file is
 * compared by `openParcel`.
 *
 * @throws ConnectorError SIGNATURE_INVALID, PARCEL_SUITE_UNKNOWN
 */
export function readStatement(keys: readonly PublicJwk[], jws: string): ParcelStatement {
  const body = verifyJws(keys, jwsTypes.parcel, jws);
  refuseOtherSuite(body);
  const parsed = statementSchema.safeParse(body);
  if (parsed.success) return parsed.data;
  throw new ConnectorError('SIGNATURE_INVALID', {
    reason: `its ${parsed.error.issues[0]?.path.join('.')} is not as the format says`,
  });
}

/** Asked before the other fields: another suite may well come with other fields. */
export function refuseOtherSuite(body: unknown): void {
  const named = typeof body === 'object' && body !== null && 'suite' in body ? body.suite : undefined;
  if (typeof named === 'string' && named !== suite) throw new ConnectorError('PARCEL_SUITE_UNKNOWN', { known: suite });
}
