import type { ReactNode } from "react";
import { Icon } from "../ui/icons.tsx";
import { texts } from "../ui/texts.ts";
import type { Notice } from "./chat-session.ts";

/** The last announcement to everyone, until it is dismissed. */
export function AnnouncementBanner({
  announcement,
  onDismiss,
}: {
  announcement: Notice | undefined;
  onDismiss: (key: string) => void;
}): ReactNode {
  return (
    <output className="announcement-place">
      {announcement !== undefined && (
        <span className="announcement">
          <Icon name="megaphone" />
          <span dir="auto">
            <strong>{texts.announcement}</strong> {announcement.text}
          </span>
          <DismissButton onClick={() => onDismiss(announcement.key)} />
        </span>
      )}
    </output>
  );
}

/** What the app told this user, for some seconds each. */
export function Notices({
  notices,
  onDismiss,
}: {
  notices: readonly Notice[];
  onDismiss: (key: string) => void;
}): ReactNode {
  return (
    <output className="notices">
      {notices.map((notice) => (
        <span className="notice" key={notice.key}>
          <Icon name="bell" />
          <span dir="auto">
            <strong>{texts.notification(notice.name)}</strong> {notice.text}
          </span>
          <DismissButton onClick={() => onDismiss(notice.key)} />
        </span>
      ))}
    </output>
  );
}

function DismissButton({ onClick }: { onClick: () => void }): ReactNode {
  return (
    <button type="button" className="icon-button" aria-label={texts.dismiss} onClick={onClick}>
      <Icon name="close" />
    </button>
  );
}
