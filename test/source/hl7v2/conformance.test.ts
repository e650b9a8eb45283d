import { once } from 'node:events';
import { createServer, type Server } from 'node:net';
import type { ConnectorEvent } from '../../../agent/model/events.ts';
import type { SourceHost } from '../../../agent/model/ports.ts';
import { sourceCommonShape } from '../../../agent/source/define.ts';
import { hl7v2 } from '../../../agent/source/hl7v2/index.ts';
import { FakeClock } from '../../base/fake-clock.ts';
import { TestIntake } from '../../conformance/intake.ts';
import { describeSource, type PeerWorld } from '../../conformance/source.ts';
import { portOf } from '../../peers/producer/port.ts';
import { PipeliningSender } from '../../peers/mllp/sender.ts';
import { encode, japaneseMessage } from './messages.ts';

interface Sent {
  readonly controlId: string;
  readonly bytes: Buffer;
}

describeSource('hl7v2', async (): Promise<PeerWorld> => {
  const intake = new TestIntake();
  const events: ConnectorEvent[] = [];
  const host: SourceHost = {
    name: 'ehr-feed',
    intake,
    clock: new FakeClock('2026-11-23T10:15:30+09:00'),
    signal: new AbortController().signal,
    report: (event) => void events.push(event),
  };
  const listen = `127.0.0.1:${await freePort()}`;
  const options = hl7v2.options.safeExtend(sourceCommonShape).parse({ name: host.name, listen });
  const create = await hl7v2.load();
  const source = create(options, host);
  let squatter: Server | undefined;
  let sender: PipeliningSender | undefined;
  let count = 0;
  let unanswered: Sent[] = [];

  const send = async (messages: readonly Sent[], port: number | undefined) => {
    sender ??= await PipeliningSender.connect(port ?? 0);
    const answers = await sender.send(messages);
    const taken = new Set(answers.filter(({ code }) => code === 'AA').map(({ controlId }) => controlId));
    unanswered = messages.filter(({ controlId }) => !taken.has(controlId));
    return { bytes: messages.map(({ bytes }) => bytes), acknowledged: taken.size };
  };

  return {
    source,
    mode: 'listen',
    intake,
    events,
    secrets: ['00012345', '山本', 'YAMAMOTO', 'CONF-'],
    offer: (n, port) => {
      const messages = Array.from({ length: n }, () => {
        const controlId = `CONF-${++count}`;
        return { controlId, bytes: encode(japaneseMessage(controlId, '~ISO IR87'), 'iso-2022-jp') };
      });
      return send(messages, port);
    },
    repeat: (port) => send(unanswered, port),
    // The port is the only thing of the peer's that a listener depends on: somebody else has it.
    breakPeer: async () => {
      await source.stop();
      squatter = createServer().listen(options.listen.port, '127.0.0.1');
      await once(squatter, 'listening');
    },
    close: async () => {
      sender?.close();
      squatter?.close();
    },
  };
});

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const port = portOf(server);
  server.close();
  await once(server, 'close');
  return port;
}
