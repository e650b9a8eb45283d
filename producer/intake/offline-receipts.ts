/**
 * Where the identity is kept away from the network, parcels are opened elsewhere, and `open --receipt` signs what was
 * found. A file brought back into this folder becomes a receipt in the hospital's chain, as if it had been opened here.
 */
import { existsSync } from 'node:fs';
import { readdir, readFile, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { verifyJws } from '../../agent/base/jws.ts';
import { ConnectorError } from '../../agent/model/errors.ts';
import type { Report } from '../../agent/model/ports.ts';
import { jwsTypes, type ParcelStatement } from '../../agent/model/wire.ts';
import type { KeyFolder } from '../keys/folder.ts';
import { facilityCode } from '../keys/shapes.ts';
import type { Parcels } from './parcels.ts';
import { acceptedStatement, type Receipts } from './receipts.ts';
import { idShape } from './shapes.ts';

const openedShape = z.object({
  status: z.literal('opened'),
  agent: facilityCode,
  parcelId: idShape,
  sha256: z.string(),
  entries: z.int().min(0),
});

export interface OfflineReceiptParts {
  readonly folder: string;
  readonly keys: KeyFolder;
  readonly parcels: Parcels;
  readonly receipts: Receipts;
  readonly report: Report;
}

export class OfflineReceipts {
  readonly #parts: OfflineReceiptParts;

  constructor(parts: OfflineReceiptParts) {
    this.#parts = parts;
  }

  /** Issues what has been brought; a file that was used ends in `.done`, one that is refused in `.refused`. */
  async issueAll(): Promise<void> {
    const { folder } = this.#parts;
    if (!existsSync(folder)) return;
    for (const name of (await readdir(folder)).filter((file) => file.endsWith('.jws'))) {
      const path = join(folder, name);
      const isIssued = this.#issue((await readFile(path, 'utf8')).trim());
      await rename(path, `${path}${isIssued ? '.done' : '.refused'}`);
    }
  }

  #issue(jws: string): boolean {
    const { parcels, receipts, report } = this.#parts;
    try {
      const { agent, parcelId, sha256, entries } = this.#read(jws);
      const row = parcels.find({ agent, parcelId });
      const statement = row?.statement ? acceptedStatement(row.statement) : undefined;
      if (!statement || statement.sha256 !== sha256) throw notOurs();
      parcels.atomically(() => this.#conclude(statement, entries));
      if (!receipts.find(agent, parcelId, 'opened')) throw notOurs();
      report({ name: 'parcel.opened', source: agent, parcel: parcelId });
      return true;
    } catch (error) {
      if (!(error instanceof ConnectorError)) throw error;
      report({ name: 'intake.refused', code: error.code });
      return false;
    }
  }

  #conclude(statement: ParcelStatement, entries: number): undefined {
    const { parcels, receipts } = this.#parts;
    if (parcels.move(statement, 'stored', 'opened')) receipts.issue(statement, { status: 'opened', entries });
  }

  #read(jws: string): z.infer<typeof openedShape> {
    const parsed = openedShape.safeParse(verifyJws([this.#parts.keys.signing.publicJwk], jwsTypes.receipt, jws));
    if (!parsed.success) throw new ConnectorError('SIGNATURE_INVALID', { reason: 'it is not an opened receipt' });
    return parsed.data;
  }
}

function notOurs(): ConnectorError {
  return new ConnectorError('SIGNATURE_INVALID', { reason: 'it is not of a parcel stored here' });
}
