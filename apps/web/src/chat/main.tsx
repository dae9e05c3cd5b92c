import { createRoot } from "react-dom/client";
import { texts } from "../ui/texts.ts";
import { ChatApp } from "./app.tsx";

document.documentElement.lang = texts.language;
const root = document.getElementById("root");
if (root !== null) createRoot(root).render(<ChatApp />);
