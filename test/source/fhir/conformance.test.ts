import { afterEach } from 'vitest';
import { describeSource, type PeerWorld } from '../../conformance/source.ts';
import { observation, patient } from '../../peers/fhir/resources.ts';
import { hourMs } from '../../base/fake-clock.ts';
import { rig, startServer, stopAll } from './host.ts';

afterEach(stopAll);

describeSource('fhir, by time of change', async (): Promise<PeerWorld> => {
  const server = await startServer({ layout: 'pretty' });
  // The overlap reads again on purpose what was read before; here is asked what is read without it.
  const { source, intake, events, clock } = rig({ url: server.url, overlap: '0s', count: 5 });
  let made = 0;
  return {
    source,
    mode: 'poll',
    intake,
    events,
    secrets: ['0099', '太郎', 'secret-id', '\u{20bb7}'],
    offer: async (count) => {
      const changedAt = server.now + hourMs / 2;
      server.now += hourMs;
      clock.step(hourMs);
      const resources = Array.from({ length: count }, () => {
        made++;
        const id = `secret-id-${made}`;
        return made % 3 === 0 ? patient({ id, number: `0099${made}`, changedAt }) : observation({ id, changedAt });
      });
      server.resources.push(...resources);
      return { bytes: resources.map(({ bytes }) => bytes), acknowledged: 0 };
    },
    breakPeer: () => server.close(),
    close: () => server.close(),
  };
});
