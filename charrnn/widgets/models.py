"""The list of models. It knows what a row shows, and asks the workspace for everything else."""

from __future__ import annotations

from charrnn.widgets.view import View


class ModelsView(View):
    """All models that this user may see, newest first."""

    def refresh(self) -> None:
        """Show the models as they are now."""
        page = self.workspace.list(limit=50)
        self.show(models=[{"id": each.id, "name": each.name, "status": each.status} for each in page.models])
