import { existsSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { isoJst, systemClock } from '../../agent/base/clock.ts';
import { writeDurable } from '../../agent/base/files.ts';
import { signJws } from '../../agent/base/jws.ts';
import type { Terminal } from '../../agent/base/terminal.ts';
import { ConnectorError, reasonOf } from '../../agent/model/errors.ts';
import { jwsTypes, type ParcelStatement, type Receipt } from '../../agent/model/wire.ts';
import { type OpenedParcel, readStatement } from '../../agent/parcel/index.ts';
import { receiptBody } from '../intake/receipts.ts';
import { listClients } from '../keys/clients.ts';
import { keyFiles, loadIdentities, loadReceiptSigner } from '../keys/folder.ts';
import { openRetraction, Retracted } from '../open/retracted.ts';
import { type Unpacked, unpack } from '../open/unpack.ts';
import { statementPath } from '../storage/file-store.ts';
import type { Command } from './command.ts';

export const open: Command = {
  name: 'open',
  operands: 'PARCEL…',
  summary: 'Opens parcels: payloads as files, index, studies in folders; everything written is read back and checked.',
  options: {
    dir: { argument: 'DIR', description: 'the key folder: age identities, and the receipt key', isRequired: true },
    out: { argument: 'OUT', description: 'the folder to make', isRequired: true },
    retractions: { argument: 'DIR', description: 'leave out what the retractions (*.jws) in this folder name' },
    receipt: {
      description: 'sign what was opened: PARCELID.opened.jws in OUT, for DATA/offline-receipts of the intake',
    },
  },
  notes: [
    'OUT/records/RECORD, OUT/studies/STUDY/SERIES/RECORD.dcm, OUT/records.ndjson, OUT/subjects.ndjson, OUT/index.json.',
    'A statement beside a parcel (PARCEL.jws) is compared with it; with the key of `client --agent-key` also verified.',
  ],

  run: async (args, terminal) => {
    const dir = resolve(args.required('dir'));
    const out = resolve(args.required('out'));
    const identities = loadIdentities(dir);
    if (identities.length === 0) {
      const reason = `it holds neither ${keyFiles.onlineIdentity} nor ${keyFiles.recoveryIdentity}`;
      throw new ConnectorError('PRODUCER_KEYS_UNUSABLE', { path: dir, reason });
    }
    const signer = args.has('receipt') ? loadReceiptSigner(dir) : undefined;
    const retracted = await readRetracted(args.text('retractions'), identities);
    const sources = await Promise.all(args.operands.map((path) => withStatement(path, dir)));
    const unpacked = await unpack({ sources, identities, out, retracted });
    if (signer) for (const parcel of unpacked.opened) await writeReceipt(out, parcel, signer);
    tell(terminal, { out, unpacked, isVerified: sources.every(({ statement }) => statement !== undefined) });
  },
};

/** A parcel and, where its signature can be checked here, its statement. */
async function withStatement(path: string, dir: string): Promise<{ path: string; statement?: ParcelStatement }> {
  const beside = statementPath(path);
  if (beside === path || !existsSync(beside)) return { path };
  const keys = listClients(dir).flatMap(({ agentKey }) => (agentKey ? [agentKey] : []));
  if (keys.length === 0) return { path };
  return { path, statement: readStatement(keys, (await readFile(beside, 'utf8')).trim()) };
}

async function readRetracted(folder: string | undefined, identities: readonly string[]): Promise<Retracted> {
  if (folder === undefined) return new Retracted([]);
  const names = await readdir(folder, { recursive: true }).catch((cause: unknown) => {
    throw new ConnectorError('FILE_UNREADABLE', { path: folder, reason: reasonOf(cause) }, { cause });
  });
  const texts = names.filter((name) => name.endsWith('.jws')).map((name) => readFile(join(folder, name), 'utf8'));
  return new Retracted(await Promise.all((await Promise.all(texts)).map((jws) => openRetraction(jws, identities))));
}

/** Receipts are numbered by the intake; this one says 0 and becomes one there. */
async function writeReceipt(
  out: string,
  { parcel, sha256, bytes }: OpenedParcel,
  { name, signing }: ReturnType<typeof loadReceiptSigner>,
): Promise<void> {
  const verdict = { status: 'opened' as const, entries: parcel.counts.records };
  const subject = { ...parcel, sha256, bytes };
  const body = receiptBody(subject, { producer: name, verdict, at: isoJst(systemClock.now()) });
  const receipt: Receipt = { ...body, receiptSequence: 0 };
  const jws = signJws(signing, jwsTypes.receipt, receipt);
  await writeDurable(join(out, `${parcel.parcelId}.opened.jws`), Buffer.from(`${jws}\n`));
}

function tell(terminal: Terminal, result: { out: string; unpacked: Unpacked; isVerified: boolean }): void {
  const { out, unpacked, isVerified } = result;
  const { parcels, records, studies, retracted } = unpacked.index;
  terminal.say(`Opened into ${out}`);
  terminal.say();
  terminal.table(
    ['PARCEL', 'HOSPITAL', 'SEQUENCE', 'RECORDS'],
    parcels.map(({ parcelId, agent, sequence, records: count }) => [parcelId, agent, String(sequence), String(count)]),
  );
  terminal.say();
  const instances = studies.reduce((sum, study) => sum + study.instances, 0);
  terminal.say(
    `${records.length} records, ${instances} of them images in ${studies.length} studies; ${retracted} left out as retracted.`,
  );
  terminal.say('Every file was read back and has the digest the hospital stated.');
  if (!isVerified)
    terminal.say('Sender not verified here: no statement beside the parcel, or no agent key registered.');
  terminal.result({
    out,
    parcels,
    records: records.length,
    studies: studies.length,
    instances,
    retracted,
    senderVerified: isVerified,
  });
}
