/**
 * Invented trees of the standardized storage, in ISO-2022-JP, with the traps that official samples have: a 0x1C or a
 * line feed at the end, two spellings of ISO IR87, flags 0 and 2, times of 15 digits, names of six fields, files in
 * the wrong folder, junk of two bytes.
 */
import { mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { encode } from '../hl7v2/messages.ts';

export interface FileParts {
  readonly patientId: string;
  readonly careDate?: string;
  readonly dataType?: string;
  readonly orderNumber?: string;
  readonly time?: string;
  readonly department?: string;
  readonly flag?: '0' | '1' | '2';
  /** What the writer leaves after the last segment. */
  readonly ending?: '' | '\x1c' | '\n';
  readonly msh18?: string;
  /** PID-3 when it is not the path's patient; '' for no PID at all. */
  readonly pid?: string;
}

export interface TreeFile {
  /** From the root. */
  readonly path: string;
  readonly bytes: Buffer;
}

const messageTypes: Readonly<Record<string, string>> = {
  'ADT-00': 'ADT^A08^ADT_A01',
  'ADT-12': 'ADT^A04^ADT_A01',
  'PPR-01': 'PPR^ZD1^PPR_ZD1',
  'OMP-01': 'RDE^O11^RDE_O11',
  'OMP-02': 'RDE^O11^RDE_O11',
  'OML-11': 'OUL^R22^OUL_R22',
};

export const noOrder = '999999999999999';

export function fileName(parts: FileParts): string {
  const { patientId, careDate = '20261120', dataType = 'OML-11', orderNumber = '000000000000001' } = parts;
  const { time = '20261120101500123', department = '01', flag = '1' } = parts;
  return [patientId, careDate, dataType, orderNumber, time, department, flag].join('_');
}

export function folderOf({ patientId, careDate = '20261120', dataType = 'OML-11' }: FileParts): string {
  return join(patientId.slice(0, 3), patientId.slice(3, 6), patientId, careDate, dataType);
}

/** A message as this storage holds it; the time makes every version's bytes its own. */
export function contentOf(parts: FileParts): Buffer {
  const { patientId, dataType = 'OML-11', time = '20261120101500123', orderNumber = '000000000000001' } = parts;
  const { ending = '', msh18 = '~ISO IR87', pid = patientId, flag = '1' } = parts;
  const type = messageTypes[dataType] ?? 'ADT^A08^ADT_A01';
  const segments = [
    `MSH|^~\\&|HIS001|KAKEHASHI|GW01|RCV|${time.slice(0, 14)}||${type}|${time}${flag === '0' ? 'D' : ''}|P|2.5||||||${msh18}||ISO 2022-1994|SS-MIX2_1.20^SS-MIX2^1.2.392.200250.2.1.100.1.2.120^ISO`,
    ...(pid === '' ? [] : [`PID|0001||${pid}^^^^PI||山本^マウ子^^^^^L^I~マウ^ソマ^^^^^L^P||19700101|F`]),
    `ORC|SC|${orderNumber}`,
  ];
  return encode(segments.map((segment) => `${segment}\r`).join('') + ending, 'iso-2022-jp');
}

export class Tree {
  readonly root: string;

  constructor() {
    this.root = mkdtempSync(join(tmpdir(), 'kakehashi-ssmix2-'));
  }

  put(parts: FileParts, bytes = contentOf(parts)): TreeFile {
    return this.putAt(join(folderOf(parts), fileName(parts)), bytes);
  }

  putAt(path: string, bytes: Buffer): TreeFile {
    mkdirSync(dirname(join(this.root, path)), { recursive: true });
    writeFileSync(join(this.root, path), bytes);
    return { path, bytes };
  }

  /** What the storage's writer does to a file: its time stays, its folder's changes. */
  reflag({ path, bytes }: TreeFile, flag: '0' | '1' | '2'): TreeFile {
    const renamed = `${path.slice(0, -1)}${flag}`;
    renameSync(join(this.root, path), join(this.root, renamed));
    return { path: renamed, bytes };
  }

  delete({ path }: TreeFile): void {
    rmSync(join(this.root, path), { recursive: true });
  }

  touch({ path }: Pick<TreeFile, 'path'>, atMs: number): void {
    utimesSync(join(this.root, path), atMs / 1000, atMs / 1000);
  }

  /** Every file with its folder, for seeing that a scan left no trace. */
  names(): string[] {
    return readdirSync(this.root, { recursive: true, encoding: 'utf8' }).toSorted();
  }

  remove(): void {
    rmSync(this.root, { recursive: true, force: true });
  }
}

/** A small hospital with every trap. What is `taken` is handed over by a first scan; `quarantined` with a reason. */
export function hospital(tree: Tree): { taken: TreeFile[]; quarantined: (TreeFile & { reason: string })[] } {
  const taken = [
    tree.put({ patientId: '9990001', careDate: '-', dataType: 'ADT-00', orderNumber: noOrder, department: '-' }),
    tree.put({ patientId: '9990001', careDate: '-', dataType: 'PPR-01', ending: '\x1c' }),
    tree.put({ patientId: '9990001', dataType: 'OMP-01', msh18: '~ISOIR87', ending: '\n' }),
    tree.put({ patientId: '9990001', dataType: 'OMP-02', time: '202611201015001' }),
    tree.put({ patientId: '9990002', orderNumber: '0000000000013' }),
    tree.put({ patientId: '00000031', careDate: '20240229', pid: '' }),
  ];
  tree.put({ patientId: '9990002', orderNumber: '000000000000002', flag: '2' });
  tree.put({ patientId: '9990002', orderNumber: '000000000000003', flag: '0' });
  tree.putAt('999/000/9990002/Thumbs.db', Buffer.from('x'));
  const six = '9990002_20261120_OML-11_000000000000004_20261120101500123_1';
  const wrong = fileName({ patientId: '9990001', orderNumber: '000000000000005' });
  const quarantined = [
    {
      ...tree.putAt(join(folderOf({ patientId: '9990002' }), six), contentOf({ patientId: '9990002' })),
      reason: 'BAD_NAME',
    },
    {
      ...tree.putAt(join(folderOf({ patientId: '9990002' }), wrong), contentOf({ patientId: '9990001' })),
      reason: 'BAD_NAME',
    },
    { ...tree.putAt('000/000/0000001/20260101/ADT-31/broken_name', Buffer.from([0xfb, 0xfc])), reason: 'BAD_NAME' },
    { ...tree.putAt('999/000/9990002/20261120/left-here', Buffer.from('y')), reason: 'BAD_NAME' },
    { ...tree.put({ patientId: '9990003' }, Buffer.from([0xfb, 0xfc])), reason: 'UNREADABLE' },
    { ...tree.put({ patientId: '9990004', pid: '9990005' }), reason: 'TWO_PATIENTS' },
  ];
  return { taken, quarantined };
}
