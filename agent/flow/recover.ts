import { mkdir, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { removePartials } from '../base/files.ts';
import type { ParcelState } from '../buffer/parcels.ts';
import { voidParcel } from './enforce.ts';
import { replayStops } from './stop.ts';
import { nothingAfter, type Store } from './store.ts';

/** States in which the sealed file is still needed. */
const withFile: ReadonlySet<ParcelState> = new Set(['sealed', 'uploading', 'voiding']);

/**
 * Puts right what a crash left behind, before anything else runs: stops of the journal that the database does not
 * know, parcels that were being packed, files without a row. Idempotent.
 */
export async function recover(store: Store): Promise<{ stops: number; parcels: number; files: number }> {
  const { count: stops, after } = replayStops(store);
  await store.spool.remove(after.spool);
  const parcels = voidUnpublished(store);
  const spooled = await store.spool.removeOrphans((sealId) => store.records.isSpoolNeeded(sealId));
  const files = spooled + (await removeParcelFiles(store));
  return { stops, parcels, files };
}

/** A parcel without a statement was announced to nobody: it is void, and its deliveries are ready again. */
function voidUnpublished(store: Store): number {
  const at = store.time.now();
  const packing = store.producers.flatMap(({ id }) => store.parcels.inState('packing', id));
  store.db
    .transaction(() => {
      for (const { id } of packing) voidParcel(store, id, { reason: 'restart', at, after: nothingAfter() });
    })
    .immediate();
  return packing.length;
}

async function removeParcelFiles(store: Store): Promise<number> {
  await mkdir(store.parcelsFolder, { recursive: true, mode: 0o700 });
  let removed = await removePartials(store.parcelsFolder);
  for (const name of await readdir(store.parcelsFolder)) {
    const parcel = store.parcels.byPid(name.split('.')[0] ?? '');
    if (parcel && withFile.has(parcel.state)) continue;
    await rm(join(store.parcelsFolder, name), { force: true });
    removed++;
  }
  return removed;
}
