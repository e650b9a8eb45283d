/**
 * What is put in front of a data set so that it is a file, PS3.10 section 7.1: preamble, `DICM`, group 0002 in explicit
 * VR little endian. Made only of what the sender negotiated and of constants, so the same instance always gets the same
 * header; who sent it is in records.ndjson and not here.
 */
import { implementationClassUid, implementationVersionName } from './uids.ts';

export interface InstanceName {
  readonly sopClassUid: string;
  readonly sopInstanceUid: string;
  readonly transferSyntaxUid: string;
}

export function part10Header({ sopClassUid, sopInstanceUid, transferSyntaxUid }: InstanceName): Buffer {
  const meta = Buffer.concat([
    longElement(0x0001, 'OB', Buffer.from([0, 1])),
    element(0x0002, 'UI', sopClassUid),
    element(0x0003, 'UI', sopInstanceUid),
    element(0x0010, 'UI', transferSyntaxUid),
    element(0x0012, 'UI', implementationClassUid),
    element(0x0013, 'SH', implementationVersionName),
  ]);
  const groupLength = Buffer.alloc(12);
  groupLength.writeUInt16LE(0x0002, 0);
  groupLength.write('UL', 4, 'latin1');
  groupLength.writeUInt16LE(4, 6);
  groupLength.writeUInt32LE(meta.length, 8);
  return Buffer.concat([Buffer.alloc(128), Buffer.from('DICM'), groupLength, meta]);
}

function element(number: number, vr: 'UI' | 'SH', text: string): Buffer {
  const padding = text.length % 2 === 0 ? '' : vr === 'UI' ? '\0' : ' ';
  const value = Buffer.from(text + padding, 'latin1');
  const head = Buffer.alloc(8);
  head.writeUInt16LE(0x0002, 0);
  head.writeUInt16LE(number, 2);
  head.write(vr, 4, 'latin1');
  head.writeUInt16LE(value.length, 6);
  return Buffer.concat([head, value]);
}

function longElement(number: number, vr: 'OB', value: Buffer): Buffer {
  const head = Buffer.alloc(12);
  head.writeUInt16LE(0x0002, 0);
  head.writeUInt16LE(number, 2);
  head.write(vr, 4, 'latin1');
  head.writeUInt32LE(value.length, 8);
  return Buffer.concat([head, value]);
}
