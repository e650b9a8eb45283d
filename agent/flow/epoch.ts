import type { Parcel } from '../buffer/parcels.ts';
import type { HoldReason } from '../model/ports.ts';
import { voidParcel } from './enforce.ts';
import { nothingAfter, type ProducerRow, type Store } from './store.ts';

/**
 * Makes a restored copy the installation that producers hear, and returns its epoch. It ships nothing until `believe`.
 *
 * What the copy had published is taken back: its statements carry the old epoch, which producers refuse from now on,
 * and what became of it after the backup only they know. The answer to each DELETE tells, and what had not arrived is
 * packed anew, under the same record ids.
 */
export function beginEpoch(store: Store): number {
  const { db, ledger, producers, settings, time } = store;
  const at = time.now();
  // Seconds since 1970 and not the next number: of two machines restored from one backup, the later must win.
  const epoch = Math.max(store.epoch + 1, Math.floor(at / 1000));
  db.transaction(() => {
    settings.set('epoch', String(epoch));
    settings.set('confirm-shipping', String(at));
    ledger.append('restore', at, { epoch });
    for (const { id } of producers.flatMap((producer) => onTheWay(store, producer))) {
      voidParcel(store, id, { reason: 'restored', at, after: nothingAfter() });
    }
  }).immediate();
  return epoch;
}

function onTheWay({ parcels }: Store, { id }: ProducerRow): Parcel[] {
  return [...parcels.inState('sealed', id), ...parcels.inState('uploading', id)];
}

/** Why nobody's record may leave now, whoever it is; undefined when the gate may be asked about each. */
export function pausedBy({ gate, settings }: Store): HoldReason | 'restored' | undefined {
  return gate.paused() ?? (settings.get('confirm-shipping') === undefined ? undefined : 'restored');
}

/** A person's word that the restored state is to be believed. Harmless when nothing was restored. */
export function believe({ settings }: Store): void {
  settings.remove('confirm-shipping');
}

/** A register made after the restore knows of every stop the backup may have missed. */
export function believeIfFresh(store: Store): void {
  const restoredAt = store.settings.get('confirm-shipping');
  if (restoredAt !== undefined && (store.gate.asOf() ?? 0) > Number(restoredAt)) believe(store);
}
